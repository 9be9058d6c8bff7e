// What the host is to a policy, for unit tests with node: `node --import ./tests/host.js --test`.

import { register } from "node:module";

const hooks = `
  export async function resolve(name, context, next) {
    return name.startsWith("portcullis:policy/log@") ? { url: "portcullis:log", shortCircuit: true } : next(name, context);
  }
  export async function load(url, context, next) {
    if (url !== "portcullis:log") return next(url, context);
    const source = "export const write = (level, message) => console.error(level + ': ' + message); export const rule = () => {};";
    return { format: "module", shortCircuit: true, source };
  }`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

/** A word that only the shell can tell: what it certainly begins with, and whether it becomes exactly one. */
export const dynamic = (source, { prefix = "", oneWord = true } = {}) => ({ tag: "dynamic", val: { source, prefix, oneWord } });

/** A request of these commands, one after the other; each is a list of words. Programs lie in /usr/bin, jobs in /work. */
export function request(...commands) {
  const nodes = commands.map((words) => node(words, commands.length > 1));
  if (nodes.length > 1) nodes.unshift({ ...node([], false), kind: "sequence", role: "root" });
  const source = commands.map((words) => words.map((word) => word.val?.source ?? word).join(" ")).join("; ");
  return {
    source, nodes, launch: nodes.length > 1 ? "shell" : "direct", constructs: { sequence: nodes.length > 1 }, cwd: "/work",
    env: [["PATH", "/usr/bin"]], timeoutMs: undefined, client: { principal: "local", name: "tests", version: "" },
  };
}

/** What a policy says is wrong with settings: `path: message` each, none if they are in order. */
export function configure(settings, value) {
  try {
    settings.configure(JSON.stringify(value));
    return [];
  } catch (errors) {
    if (!Array.isArray(errors)) throw errors;
    return errors.map(({ path, message }) => `${path}: ${message}`);
  }
}

function node(words, isItem) {
  const [program, ...args] = words.map((word) => (typeof word === "string" ? { tag: "literal", val: word } : word));
  return {
    parent: isItem ? 0 : undefined, role: isItem ? "item" : "root", kind: "command", directory: "/work", program,
    resolved: program?.tag === "literal" ? resolved(program.val) : undefined, builtin: false,
    args: args.map((word) => ({ word, places: [] })), assignments: [], redirects: [], executes: undefined, opens: undefined,
  };
}

function resolved(name) {
  const path = name.includes("/") ? name : `/usr/bin/${name}`;
  return { path, name: path, interpreter: undefined, insideRoots: !path.startsWith("/usr/"), lookedUp: !name.includes("/") };
}
