"""Plays the host for unit tests: `python3 -m unittest discover tests`, after `portcullis policy build`, which writes `bindings/`."""

import json
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bindings")]

from componentize_py_types import Err  # noqa: E402
from wit_world.imports import log, types  # noqa: E402

import portcullis  # noqa: E402

log.write = lambda level, message: print(f"{level.name}: {message}", file=sys.stderr)
log.rule = lambda place: None


def configure(settings, value):
    """What a policy says is wrong with settings: `path: message` each, none if they are in order."""
    try:
        settings().configure(json.dumps(value))
        return []
    except Err as errors:
        return [f"{error.path}: {error.message}" for error in errors.value]


def check_schema(shape):
    """Fails if settings.schema.json is not the schema of this dataclass; writes it instead where the variable BLESS is set."""
    file, wanted = PROJECT / "settings.schema.json", json.dumps(portcullis.schema(shape), indent=2) + "\n"
    if "BLESS" in os.environ:
        file.write_text(wanted)
    assert file.exists() and file.read_text() == wanted, f"{file} is not the schema of the settings; BLESS=1 writes it"


def dynamic(source, prefix="", one_word=True):
    """A word that only the shell can tell: what it certainly begins with, and whether it becomes exactly one."""
    return types.Word_Dynamic(types.Expansion(source, prefix, one_word))


def request(*commands):
    """A request of these commands, one after the other; each is a list of words. Programs lie in /usr/bin, jobs in /work."""
    nodes = [_node(words, len(commands) > 1) for words in commands]
    if len(nodes) > 1:
        sequence = types.Node(None, types.Role.ROOT, types.NodeKind.SEQUENCE, "/work", None, None, False, [], [], [], None, None)
        nodes.insert(0, sequence)
    launch = types.Launch.SHELL if len(nodes) > 1 else types.Launch.DIRECT
    source = "; ".join(" ".join(str(word) for word in words) for words in commands)
    env, client = [("PATH", "/usr/bin")], types.Client("local", "tests", "")
    return types.Request(source, launch, types.Constructs(0), nodes, "/work", env, None, client)


def filtered(output, filter, text):
    """What a filter makes of a stream that comes in lines, in UTF-8. How it may be cut, `portcullis policy test` tries."""
    from wit_world.exports import output as hook

    opened, triggers, out = filter(None, hook.StreamKind.STDOUT), output().triggers(), b""
    for line in text.encode().splitlines(keepends=True):
        at = min((line.lower().find(one.text.lower()) for one in triggers if one.text.lower() in line.lower()), default=None)
        at = at if triggers else 0
        if at is None:
            out += line
            continue
        action = opened.push(line[:at][-16:], line[at:], hook.Boundary.LINE if line.endswith(b"\n") else hook.Boundary.END)
        emitted = {"Emission_Pass": lambda emit: line[at:], "Emission_Replace": lambda emit: emit.value}
        out += line[:at] + emitted.get(type(action.emit).__name__, lambda emit: b"")(action.emit)
    return out.decode()


def _node(words, is_item):
    words = [types.Word_Literal(word) if isinstance(word, str) else word for word in words]
    program, parent = portcullis.literal(words[0]), 0 if is_item else None
    path = program if program is None or "/" in program else f"/usr/bin/{program}"
    resolved = None if path is None else types.Program(path, path, None, not path.startswith("/usr/"), "/" not in program)
    role, args = types.Role.ITEM if is_item else types.Role.ROOT, [types.Argument(word, []) for word in words[1:]]
    return types.Node(parent, role, types.NodeKind.COMMAND, "/work", words[0], resolved, False, args, [], [], None, None)
