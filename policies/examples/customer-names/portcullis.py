"""For authors of portcullis policies in Python: answers, typed settings with their schema, notes for the operator, and finding the
commands that a rule is about. `portcullis policy new` writes this file; the contract itself is wit/policy.wit, whose names are
written in snake_case here.
"""

import dataclasses
import json
import types as python
import typing

from componentize_py_types import Err
from wit_world.exports import settings as _settings
from wit_world.imports import log as _log
from wit_world.imports.types import NodeKind, Reason, Word_Literal

try:
    from wit_world.exports import command as _command
except ImportError:
    pass  # The world of this policy has no such hook.
try:
    from wit_world.exports import input as _input
except ImportError:
    pass
try:
    from wit_world.exports import output as _output
except ImportError:
    pass

# ── verdicts on commands ──────────────────────────────────────────────────────────────────────────────────────────────────


def abstain():
    """No opinion. If all policies abstain, the command is denied."""
    return _command.Verdict_Abstain()


def allow():
    """Approved, unless another policy denies or asks."""
    return _command.Verdict_Allow()


def deny(code, message):
    """Refused. `code`: 1 to 64 of a-z, 0-9 and -; `message`: one or two sentences for a person."""
    return _command.Verdict_Deny(Reason(code, message))


def ask(code, message):
    """A person must approve."""
    return _command.Verdict_Ask(Reason(code, message))


def rewrite(edits, code, message, cwd=None, timeout_ms=None):
    """Not in this form but with these edits, at most one per node. Needs `may_rewrite = true` in the policy's entry."""
    return _command.Verdict_Rewrite(_command.Rewrite(edits, cwd, timeout_ms, Reason(code, message)))


def edit(index, program=None, args=None, assignments=(), executes=None, opens=None):
    """A change of the command at `index`; each of `args` is a number (the argument that has this index now) or a text. `executes`: absolute
    paths beside its own program to which the kernel confines what it and its children may execute. `opens`: those beside the roots and the
    system's own which they may read; they write in the roots alone."""
    if args is not None:
        args = [_command.Edited_Keep(arg) if isinstance(arg, int) else _command.Edited_Literal(arg) for arg in args]
    return _command.Edit(index, program, args, list(assignments), executes, opens)


# ── verdicts on input ─────────────────────────────────────────────────────────────────────────────────────────────────────


def abstain_from_input():
    """No opinion. If all policies abstain, the input is denied."""
    return _input.InputVerdict_Abstain()


def allow_input():
    """Approved, unless another policy denies or asks."""
    return _input.InputVerdict_Allow()


def deny_input(code, message):
    """Refused."""
    return _input.InputVerdict_Deny(Reason(code, message))


# ── what becomes of output ────────────────────────────────────────────────────────────────────────────────────────────────


def passed(hold=0, engaged=False):
    """The piece as it is, but for the `hold` bytes at its end, which come again in front of the next one."""
    return _output.Action(_output.Emission_Pass(), hold, engaged, [])


def replaced(emitted, hold=0, engaged=False, findings=None):
    """These bytes instead of what is not held; `findings` counts by kind what was taken out."""
    findings = [_output.Finding(kind, count) for kind, count in (findings or {}).items()]
    return _output.Action(_output.Emission_Replace(emitted), hold, engaged, findings)


def stopped(code, message):
    """The stream ends here."""
    return _output.Action(_output.Emission_Stop(Reason(code, message)), 0, False, [])


def trigger(text, ignore_case=False):
    """Lines with this text are of interest from there on: 3 to 64 bytes in UTF-8. Case is ignored in ASCII letters alone."""
    return _output.Trigger(text.encode(), ignore_case)


def is_whole(boundary):
    """Whether a piece ends where its line does, so that nothing that follows can belong to it."""
    return boundary in (_output.Boundary.LINE, _output.Boundary.END)


# ── notes for the operator ────────────────────────────────────────────────────────────────────────────────────────────────


def info(message):
    """A note in the host's log; the agent sees none. Do not print in `configure`: it would keep a stream open."""
    _log.write(_log.Level.INFO, message)


def warn(message):
    """Something an operator should look at."""
    _log.write(_log.Level.WARN, message)


def rule(place):
    """Names a rule of the settings that applies, by its place, such as `programs.git`: `portcullis policy test --coverage` counts."""
    _log.rule(place)


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings(shape, configure):
    """What a policy exports as `Settings`. `configure(settings, wrong)` is called once, with the dataclass `shape` made from the
    entry's settings: do there what is costly. `wrong(path, message)` says what is wrong with them.
    """

    class Settings:
        def configure(self, settings):
            errors = []

            def wrong(path, message):
                errors.append(_settings.SettingsError(path, message))

            read = _read(shape, json.loads(settings), "", wrong)
            if not errors:
                configure(read, wrong)
            if errors:
                raise Err(errors[:64])

    return Settings


def schema(shape):
    """The JSON Schema of a dataclass of settings; `metadata={"description": …}` of its fields goes into it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _schema(shape)


def _fields(shape):
    hints = typing.get_type_hints(shape)
    for field in dataclasses.fields(shape):
        is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        yield field, hints[field.name], is_required


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _schema(shape):
    kind, of = typing.get_origin(shape), typing.get_args(shape)
    if dataclasses.is_dataclass(shape):
        fields = list(_fields(shape))
        return {
            "type": "object",
            "properties": {field.name: dict(field.metadata) | _schema(hint) for field, hint, _ in fields},
            "required": [field.name for field, _, is_required in fields if is_required],
            "additionalProperties": False,
        }
    if kind is list:
        return {"type": "array", "items": _schema(of[0])}
    if kind is dict:
        return {"type": "object", "additionalProperties": _schema(of[1])}
    if kind in (typing.Union, python.UnionType):  # `X | None`: the key may be left out.
        return _schema(of[0])
    return {"type": _NAMES[shape]}


def _read(shape, value, path, wrong):
    kind, of = typing.get_origin(shape), typing.get_args(shape)
    dot = path + "." if path else ""
    if dataclasses.is_dataclass(shape):
        return _read_fields(shape, value, path, wrong)
    if kind is list and isinstance(value, list):
        return [_read(of[0], item, f"{dot}{index}", wrong) for index, item in enumerate(value)]
    if kind is dict and isinstance(value, dict):
        return {key: _read(of[1], item, f"{dot}{key}", wrong) for key, item in value.items()}
    if kind in (typing.Union, python.UnionType):
        return _read(of[0], value, path, wrong)
    if shape is float and type(value) is int:
        return float(value)
    if kind is not None or type(value) is not shape:
        wrong(path, f"must be {_schema(shape)['type']}")
    return value


def _read_fields(shape, value, path, wrong):
    if not isinstance(value, dict):
        return wrong(path, "must be a table")
    dot, found = path + "." if path else "", {}
    for field, hint, is_required in _fields(shape):
        if field.name in value:
            found[field.name] = _read(hint, value[field.name], dot + field.name, wrong)
        elif is_required:
            wrong(dot + field.name, "is missing")
            found[field.name] = None
    for key in value.keys() - found.keys():
        wrong(dot + key, "unknown key; remove it or mend its spelling")
    return shape(**found)


# ── what a request is about ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Invocation:
    """A command of a script that starts a program, or that the shell runs itself: its index in the nodes, and the node."""

    index: int
    node: object

    def names(self):
        """Names of the program, without directories: as written, as found, and of the file that links lead to."""
        resolved = self.node.resolved
        names = [literal(self.node.program)] + ([resolved.name, resolved.path] if resolved else [])
        return [name.rsplit("/", 1)[-1] for name in names if name is not None]

    def matches(self, words):
        """Whether it is the program that `words` begins with, with the other words among its arguments in this order: "yes", "no",
        or "perhaps", if the shell may make that of it. `["git", "push"]` is found in `git -C web push origin`. A rule that forbids
        must not let "perhaps" pass.
        """
        program, *rest = words
        is_dynamic = literal(self.node.program) is None
        if not is_dynamic and program not in self.names():
            return "no"
        found = 0
        for arg in self.node.args:
            if found < len(rest) and literal(arg.word) == rest[found]:
                found += 1
        if found == len(rest) and not is_dynamic:
            return "yes"
        return "perhaps" if _may_hold(self.node.args, rest) else "no"


def invocations(request):
    """Every command of a request or job that starts a program or is a builtin, wherever it stands."""
    for index, node in enumerate(request.nodes):
        if node.kind == NodeKind.COMMAND and node.program is not None:
            yield Invocation(index, node)


def literal(word):
    """The text of a word, or None if only the shell can tell."""
    return word.value if isinstance(word, Word_Literal) else None


def _may_hold(args, words):
    at = 0
    for arg in args:
        if at == len(words):
            break
        text = literal(arg.word)
        if text is not None:
            at += text == words[at]
        elif not arg.word.value.one_word:
            return True
        else:
            at += words[at].startswith(arg.word.value.prefix)
    return at == len(words)
