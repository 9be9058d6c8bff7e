import unittest
from dataclasses import dataclass, field

import harness
from harness import dynamic

import portcullis


@dataclass
class Inner:
    most: int
    share: float = 0.5


@dataclass
class Rules:
    by_name: dict[str, Inner] = field(default_factory=dict)
    words: list[str] | None = None


class Portcullis(unittest.TestCase):
    def test_words_are_found_in_their_order_and_what_only_the_shell_can_tell_may_be_them(self):
        for expected, words in [
            ("yes", ["git", "push"]),
            ("yes", ["/usr/bin/git", "-C", "web", "push", "origin"]),
            ("yes", ["git", "push", dynamic('"$x"')]),
            ("no", ["git"]),
            ("no", ["git", "log"]),
            ("no", ["got", "push"]),
            ("no", ["git", dynamic('--"$x"', prefix="--")]),
            ("perhaps", ["git", dynamic('pu"$x"', prefix="pu")]),
            ("perhaps", ["git", dynamic("--$x", prefix="--", one_word=False)]),
            ("perhaps", [dynamic("$x"), "push"]),
        ]:
            [invocation] = portcullis.invocations(harness.request(words))
            self.assertEqual(invocation.matches(["git", "push"]), expected, words)

    def test_settings_become_dataclasses_and_mistakes_have_their_places(self):
        read = []
        settings = portcullis.settings(Rules, lambda rules, wrong: read.append(rules))
        self.assertEqual(harness.configure(settings, {"by_name": {"a": {"most": 3, "share": 1}}, "words": ["x"]}), [])
        self.assertEqual(read, [Rules({"a": Inner(3, 1.0)}, ["x"])])
        for value, error in [
            ({"by_name": {"a": {}}}, "by_name.a.most: is missing"),
            ({"by_name": {"a": {"most": True}}}, "by_name.a.most: must be integer"),
            ({"by_name": {"a": 3}}, "by_name.a: must be a table"),
            ({"words": ["x", 1]}, "words.1: must be string"),
            ({"words": "x"}, "words: must be array"),
            ({"word": []}, "word: unknown key; remove it or mend its spelling"),
        ]:
            self.assertEqual(harness.configure(settings, value), [error])
        self.assertEqual(len(read), 1)

    def test_a_schema_says_what_a_dataclass_takes(self):
        schema = portcullis.schema(Rules)
        inner = schema["properties"]["by_name"]["additionalProperties"]
        self.assertEqual((inner["required"], inner["properties"]["share"]), (["most"], {"type": "number"}))
        self.assertEqual((schema["required"], schema["properties"]["words"]["items"]), ([], {"type": "string"}))
        self.assertFalse(schema["additionalProperties"])
