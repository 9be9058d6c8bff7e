"""Masks the names of customers in what jobs print, and in every text that goes to a log or a client."""

import re
from dataclasses import dataclass, field

import portcullis

# A trigger has 3 to 64 bytes.
SHORTEST, LONGEST, MOST = 3, 64, 1024


@dataclass
class Rules:
    names: list[str] = field(metadata={"description": "Names of customers, 3 to 64 bytes each; case is ignored in ASCII letters."})
    instead: str = field(default="[customer]", metadata={"description": "What stands in the place of a name."})


def configure(rules, wrong):
    global names, pattern, instead, longest
    names, instead = rules.names, rules.instead.encode()
    if not 1 <= len(names) <= MOST:
        wrong("names", f"must hold 1 to {MOST} names")
    for index, name in enumerate(names):
        if not SHORTEST <= len(name.encode()) <= LONGEST or "\n" in name:
            wrong(f"names.{index}", f"must have {SHORTEST} to {LONGEST} bytes on one line")
        if name.lower() in rules.instead.lower():
            wrong("instead", f"holds the name {name!r} that it stands for")
    if "\n" in rules.instead or len(instead) > LONGEST:
        wrong("instead", f"must have at most {LONGEST} bytes on one line")
    # Of two names that begin alike the longer one is tried first.
    ordered = sorted((name.encode() for name in names), key=len, reverse=True)
    pattern, longest = re.compile(b"|".join(map(re.escape, ordered)), re.IGNORECASE), max(map(len, ordered), default=0)


Settings = portcullis.settings(Rules, configure)


class Output:
    def triggers(self):
        return [portcullis.trigger(name, ignore_case=True) for name in names]


class Filter:
    """The state of one stream: none, since what is not certain yet is held, and given again with what follows."""

    def __init__(self, job, stream):
        pass

    def push(self, before, bytes, boundary):
        # What begins behind this may be the beginning of a name that the next piece ends.
        certain = len(bytes) if portcullis.is_whole(boundary) else max(0, len(bytes) - longest + 1)
        parts, at, count = [], 0, 0
        for match in pattern.finditer(bytes):
            if match.start() >= certain:
                break
            parts += [bytes[at : match.start()], instead]
            at, count = match.end(), count + 1
        end = max(certain, at)
        if count == 0:
            return portcullis.passed(hold=len(bytes) - end)
        return portcullis.replaced(b"".join([*parts, bytes[at:end]]), hold=len(bytes) - end, findings={"customer-name": count})
