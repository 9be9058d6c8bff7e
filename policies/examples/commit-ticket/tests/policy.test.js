import assert from "node:assert/strict";
import { test } from "node:test";

import { command, settings } from "../src/policy.js";
import { configure, dynamic, request } from "./host.js";

const judge = (...words) => {
  const verdict = command.evaluate(request(words));
  return verdict.val?.code ?? verdict.tag;
};

test("a commit needs the number of a ticket, however its message is given", () => {
  assert.deepEqual(configure(settings, {}), []);
  for (const message of [["-m", "AB-1: x"], ["-mAB-1 x"], ["-am", "x (AB-1)"], ["--message=AB-1"], ["-m", "x", "-m", "AB-1"]]) {
    assert.equal(judge("git", "-C", "web", "commit", ...message), "abstain", message);
  }
  for (const message of [["-m", "x"], ["--message", "ab-1"], ["-m", "x", "--", "AB-1"]]) {
    assert.equal(judge("git", "commit", ...message), "no-ticket", message);
  }
});

test("a message that can not be read is refused", () => {
  configure(settings, {});
  assert.equal(judge("git", "commit"), "message-not-given");
  for (const file of [["-F", "AB-1"], ["-FmAB-1"], ["-F", "-mAB-1"], ["--file", "-mAB-1"], ["--fil", "-mAB-1"], ["--no-edit", "-Fx"], ["--amend"]]) {
    assert.equal(judge("git", "commit", ...file), "message-not-given", file);
  }
  assert.equal(judge("git", "commit", "-m", dynamic('"$m"')), "message-not-literal");
  assert.equal(judge("git", dynamic("$x", { oneWord: false })), "message-not-literal");
  assert.equal(judge("git", "commit", "--amend", "--no-edit"), "abstain");
});

test("what is no commit is not judged", () => {
  configure(settings, {});
  for (const words of [["git", "grep", "commit"], ["git", "log"], ["commit"]]) assert.equal(judge(...words), "abstain", words);
  assert.equal(command.evaluate(request(["ls"], ["git", "commit", "-m", "x"])).val.code, "no-ticket");
});

test("a pattern of the house", () => {
  assert.deepEqual(configure(settings, { pattern: "^#[0-9]+", example: "#42" }), []);
  assert.equal(judge("git", "commit", "-m", "AB-1"), "no-ticket");
  assert.equal(judge("git", "commit", "-m", "#7 x"), "abstain");
});

test("settings that can not work are refused", () => {
  assert.match(configure(settings, { pattern: "(" })[0], /^pattern: is no regular expression/);
  assert.deepEqual(configure(settings, { pattern: "#[0-9]+" }), ["example: is not what `pattern` matches; an agent will copy it"]);
});
