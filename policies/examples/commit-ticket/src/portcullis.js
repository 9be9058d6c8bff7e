// For authors of portcullis policies in JavaScript: answers, settings, notes for the operator, and finding the commands that a rule is
// about. `portcullis policy new` writes this file; the contract itself is wit/policy.wit, whose names are written in camelCase here.

import { rule as reached, write } from "portcullis:policy/log@0.1.0";

// ── verdicts on commands; those on input are the same, but `rewriteInput` ─────────────────────────────────────────────────────

/** No opinion. If all policies abstain, the command is denied. */
export const abstain = { tag: "abstain" };

/** Approved, unless another policy denies or asks. */
export const allow = { tag: "allow" };

/** Refused. `code`: 1 to 64 of a-z, 0-9 and -; `message`: one or two sentences for a person. */
export const deny = (code, message) => ({ tag: "deny", val: { code, message } });

/** A person must approve. */
export const ask = (code, message) => ({ tag: "ask", val: { code, message } });

/** Not in this form but with these edits, at most one per node. Needs `may_rewrite = true` in the policy's entry. */
export const rewrite = (edits, code, message, { cwd, timeoutMs } = {}) =>
  ({ tag: "rewrite", val: { edits, cwd, timeoutMs, reason: { code, message } } });

/**
 * A change of the command at `index`; each of `args` is a number (the argument that has this index now) or a text. `executes`: absolute paths
 * beside its own program to which the kernel confines what it and its children may execute. `opens`: those beside the roots and the system's own
 * which they may read; they write in the roots alone.
 */
export const edit = (index, { program, args, assignments = [], executes, opens }) => ({
  node: index,
  program,
  args: args?.map((arg) => (typeof arg === "number" ? { tag: "keep", val: arg } : { tag: "literal", val: arg })),
  assignments,
  executes,
  opens,
});

/** These bytes instead of what would be written to the job. */
export const rewriteInput = (bytes) => ({ tag: "rewrite", val: bytes });

// ── what becomes of output ────────────────────────────────────────────────────────────────────────────────────────────────

/** What becomes of a piece: `emit` of what is not held; `findings` counts by kind what was taken out. */
export const action = (emit, { hold = 0, engaged = false, findings = {} } = {}) =>
  ({ emit, hold, engaged, findings: Object.entries(findings).map(([kind, count]) => ({ kind, count })) });

/** As it is. */
export const pass = { tag: "pass" };

/** Nothing. */
export const drop = { tag: "drop" };

/** These bytes instead. */
export const replace = (bytes) => ({ tag: "replace", val: bytes });

/** The stream ends here. */
export const stop = (code, message) => ({ tag: "stop", val: { code, message } });

/** Lines with this text are of interest from there on: 3 to 64 bytes in UTF-8. */
export const trigger = (text, { ignoreCase = false } = {}) => ({ text: new TextEncoder().encode(text), ignoreCase });

// ── settings and notes ────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * What a policy exports as `settings`. The host has held them against settings.schema.json when `configure(settings, wrong)` is called,
 * once: do here what is costly. `wrong(path, message)` says what else is wrong with them, such as `wrong("pattern", "…")`.
 */
export const settings = (configure) => ({
  configure(json) {
    const errors = [];
    configure(JSON.parse(json), (path, message) => errors.push({ path, message }));
    if (errors.length > 0) throw errors.slice(0, 64);
  },
});

/** Notes for the operator, in the host's log; the agent sees none. `console` can not be used: it would keep a stream open. */
export const log = {
  debug: (message) => write("debug", message),
  info: (message) => write("info", message),
  warn: (message) => write("warn", message),
  error: (message) => write("error", message),
};

/** Names a rule of the settings that applies, by its place, such as `programs.git`: `portcullis policy test --coverage` counts them. */
export const rule = (place) => reached(place);

// ── what a request is about ───────────────────────────────────────────────────────────────────────────────────────────────

/** The text of a word, or undefined if only the shell can tell. */
export const literal = (word) => (word?.tag === "literal" ? word.val : undefined);

/** Every command of a request or job that starts a program or is a builtin, wherever it stands: `{ index, node }`. */
export const invocations = ({ nodes }) =>
  nodes.map((node, index) => ({ index, node })).filter(({ node }) => node.kind === "command" && node.program !== undefined);

/** Names of its program, without directories: as written, as found, and of the file that links lead to. */
export const names = ({ node }) =>
  [literal(node.program), node.resolved?.name, node.resolved?.path]
    .filter((name) => name !== undefined)
    .map((name) => name.slice(name.lastIndexOf("/") + 1));

/**
 * Whether it is the program that `words` begins with, with the other words among its arguments in this order: "yes", "no", or "perhaps",
 * if the shell may make that of it. `["git", "push"]` is found in `git -C web push origin`. A rule that forbids must not let "perhaps" pass.
 */
export function matches(invocation, [program, ...rest]) {
  const { node } = invocation;
  const isDynamic = node.program.tag === "dynamic";
  if (!isDynamic && !names(invocation).includes(program)) return "no";
  let found = 0;
  for (const { word } of node.args) if (found < rest.length && literal(word) === rest[found]) found += 1;
  if (found === rest.length && !isDynamic) return "yes";
  return mayHold(node.args, rest) ? "perhaps" : "no";
}

function mayHold(args, words) {
  let at = 0;
  for (const { word } of args) {
    if (at === words.length) break;
    if (word.tag === "literal") at += word.val === words[at] ? 1 : 0;
    else if (!word.val.oneWord) return true;
    else at += words[at].startsWith(word.val.prefix) ? 1 : 0;
  }
  return at === words.length;
}
