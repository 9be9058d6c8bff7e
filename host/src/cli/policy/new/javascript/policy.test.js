import assert from "node:assert/strict";
import { test } from "node:test";

import { command, settings } from "../src/policy.js";
import { configure, request } from "./host.js";

test("a forbidden program is denied by any name", () => {
  assert.deepEqual(configure(settings, { programs: ["find"] }), []);
  for (const commands of [[["find", "."]], [["/usr/bin/find", "."]], [["ls"], ["./find", "x"]]]) {
    assert.equal(command.evaluate(request(...commands)).val?.code, "forbidden");
  }
  assert.equal(command.evaluate(request(["ls", "find"])).tag, "abstain");
});

test("settings that can not work are refused", () => {
  assert.deepEqual(configure(settings, { programs: ["/bin/find"] }), ['programs: "/bin/find" is no name of a program']);
});
