import unittest

import harness

import app


class Policy(unittest.TestCase):
    def test_a_forbidden_program_is_denied_by_any_name(self):
        self.assertEqual(harness.configure(app.Settings, {"programs": ["find"]}), [])
        for commands in [[["find", "."]], [["/usr/bin/find", "."]], [["ls"], ["./find", "x"]]]:
            self.assertEqual(app.Command().evaluate(harness.request(*commands)).value.code, "forbidden")
        verdict = app.Command().evaluate(harness.request(["ls", "find"]))
        self.assertEqual(type(verdict).__name__, "Verdict_Abstain")

    def test_settings_that_can_not_work_are_refused(self):
        errors = harness.configure(app.Settings, {"programs": ["/bin/find"]})
        self.assertEqual(errors, ["programs.0: '/bin/find' is no name of a program"])

    def test_the_schema_beside_the_policy_is_that_of_its_settings(self):
        harness.check_schema(app.Rules)
