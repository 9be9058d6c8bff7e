import unittest

import harness

import app


class CustomerNames(unittest.TestCase):
    def test_names_are_masked_in_either_case(self):
        self.assertEqual(harness.configure(app.Settings, {"names": ["Acme", "Acme Gardens"]}), [])
        text = harness.filtered(app.Output, app.Filter, "for ACME: 3\nfor acme gardens\nnobody\nAcme")
        self.assertEqual(text, "for [customer]: 3\nfor [customer]\nnobody\n[customer]")

    def test_settings_that_can_not_work_are_refused(self):
        for settings, error in [
            ({"names": ["ab"]}, "names.0: must have 3 to 64 bytes on one line"),
            ({"names": []}, "names: must hold 1 to 1024 names"),
            ({"names": ["Acme"], "instead": "(acme)"}, "instead: holds the name 'Acme' that it stands for"),
            ({}, "names: is missing"),
            ({"names": [3]}, "names.0: must be string"),
            ({"names": ["Acme"], "name": 1}, "name: unknown key; remove it or mend its spelling"),
        ]:
            self.assertEqual(harness.configure(app.Settings, settings), [error])

    def test_the_schema_beside_the_policy_is_that_of_its_settings(self):
        harness.check_schema(app.Rules)
