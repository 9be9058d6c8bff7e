import assert from "node:assert/strict";
import { test } from "node:test";

import * as portcullis from "../src/portcullis.js";
import { dynamic, request } from "./host.js";

const match = (...words) => portcullis.matches(portcullis.invocations(request(words))[0], ["git", "push"]);

test("words are found in their order, and what only the shell can tell may be them", () => {
  for (const [expected, words] of [
    ["yes", ["git", "push"]],
    ["yes", ["/usr/bin/git", "-C", "web", "push", "origin"]],
    ["yes", ["git", "push", dynamic('"$x"')]],
    ["no", ["git"]],
    ["no", ["git", "log"]],
    ["no", ["got", "push"]],
    ["no", ["git", dynamic('--"$x"', { prefix: "--" })]],
    ["perhaps", ["git", dynamic('pu"$x"', { prefix: "pu" })]],
    ["perhaps", ["git", dynamic("--$x", { prefix: "--", oneWord: false })]],
    ["perhaps", [dynamic("$x"), "push"]],
  ]) {
    assert.equal(match(...words), expected, JSON.stringify(words));
  }
});

test("edits name the argument that is kept, or the text of a new one", () => {
  const { val } = portcullis.rewrite([portcullis.edit(0, { args: [0, "--all"] })], "all", "All of them.", { timeoutMs: 5n });
  assert.deepEqual(val.edits[0].args, [{ tag: "keep", val: 0 }, { tag: "literal", val: "--all" }]);
  assert.deepEqual([val.cwd, val.timeoutMs, val.reason.code], [undefined, 5n, "all"]);
});
