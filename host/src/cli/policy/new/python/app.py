"""Refuses programs that are not for agents. What it has nothing against is for other policies to allow: it abstains."""

from dataclasses import dataclass, field

import portcullis


@dataclass
class Rules:
    """The settings of this policy's entry in the configuration. Their schema, settings.schema.json, goes into the component."""

    programs: list[str] = field(metadata={"description": "Names of programs that are not for agents."})


def configure(rules, wrong):
    """Once, at load. Do here what is costly: every decision starts from the memory that this leaves."""
    global programs
    programs = set(rules.programs)
    for index, name in enumerate(rules.programs):
        if not name or "/" in name:
            wrong(f"programs.{index}", f"{name!r} is no name of a program")


Settings = portcullis.settings(Rules, configure)


class Command:
    def evaluate(self, request):
        """For each command, in a fresh instance. What it raises denies."""
        for invocation in portcullis.invocations(request):
            for name in invocation.names():
                if name in programs:
                    return portcullis.deny("forbidden", f"`{name}` is not for agents; ask a person to run it.")
        return portcullis.abstain()
