// Demands the number of a ticket in the message of every commit. What is no commit is none of its business: it abstains.

import * as portcullis from "./portcullis.js";

/** Options of git itself, in front of the subcommand, that take the next word as their value. */
const VALUED = new Set(["-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--attr-source", "--super-prefix"]);

/** Options of `git commit` with which the message is that of another commit, which had its ticket. */
const BORROWED = /^(--no-edit|--fixup|--squash|--reuse-message|-C)(=|$)/;

/** Options of `git commit` that take a value; git knows them by their beginnings too. */
const WITH_VALUE = ["--message", "--file", "--template", "--author", "--date", "--cleanup", "--trailer", "--fixup", "--squash",
  "--reuse-message", "--reedit-message", "--pathspec-from-file"];

let pattern;
let example;

export const settings = portcullis.settings((given, wrong) => {
  example = given.example ?? "ABC-123";
  try {
    pattern = new RegExp(given.pattern ?? "\\b[A-Z][A-Z0-9]+-[0-9]+\\b", "u");
  } catch (error) {
    return wrong("pattern", `is no regular expression: ${error.message}`);
  }
  if (!pattern.test(example)) wrong("example", "is not what `pattern` matches; an agent will copy it");
});

export const command = {
  evaluate(request) {
    for (const invocation of portcullis.invocations(request)) {
      const refusal = portcullis.matches(invocation, ["git", "commit"]) === "no" ? undefined : judge(invocation.node.args);
      if (refusal) return refusal;
    }
    return portcullis.abstain;
  },
};

/** What is wrong with a commit; undefined if nothing is, or if it is another command of git. */
function judge(args) {
  const words = args.map(({ word }) => portcullis.literal(word));
  const at = subcommand(words);
  if (at === undefined || words.includes(undefined)) {
    return portcullis.deny("message-not-literal", `Only the shell can tell what this is; write the commit out, with -m "${example}: …".`);
  }
  if (words[at] !== "commit") return undefined;
  const options = words.slice(at + 1, words.includes("--", at) ? words.indexOf("--", at) : undefined);
  const given = valued(options);
  const messages = given.filter(({ key }) => isMessage(key)).map(({ value }) => value);
  if (messages.some((message) => pattern.test(message))) return undefined;
  if (messages.length > 0) {
    return portcullis.deny("no-ticket", `The message names no ticket; begin it with one, such as "${example}: ${messages[0].slice(0, 200)}".`);
  }
  if (options.some((word) => BORROWED.test(word)) && !given.some(({ key }) => isFile(key))) return undefined;
  return portcullis.deny("message-not-given", `The message has to be read before the commit is made: give it with -m "${example}: …".`);
}

/** Where the subcommand of git stands; undefined where only the shell can tell. */
function subcommand(words) {
  let at = 0;
  while (words[at]?.startsWith("-")) at += VALUED.has(words[at]) ? 2 : 1;
  return words.slice(0, at + 1).includes(undefined) ? undefined : at;
}

/** Options that take a value, as `{ key, value }`: `-m x`, `-mx`, `-am x`, `--message x`, `--message=x`. */
function valued(options) {
  const found = [];
  for (let at = 0; at < options.length; at += 1) {
    const { key, value } = option(options[at]);
    if (takesValue(key)) found.push({ key, value: value ?? options[(at += 1)] ?? "" });
  }
  return found;
}

/** `--name=value`, `-xvalue` behind letters that take none, or the word as it is. */
function option(word) {
  const { long, set, short, rest } = /^(?<long>--[^=]+)(?:=(?<set>.*))?$|^-[apqvenszio]*(?<short>[mFCct])(?<rest>.*)$/su.exec(word)?.groups ?? {};
  return long ? { key: long, value: set } : { key: short && `-${short}`, value: rest || undefined };
}

const takesValue = (key) => key?.startsWith("--") ? WITH_VALUE.some((name) => name.startsWith(key)) : key !== undefined;

const isMessage = (key) => key === "-m" || (key.length > 3 && "--message".startsWith(key));

const isFile = (key) => key === "-F" || (key.length > 3 && "--file".startsWith(key));
