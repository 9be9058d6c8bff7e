"""Drives `portcullis serve` with the command line of the MCP inspector, in both eras of the protocol, over standard input and output
and over HTTP.

    inspector.py INSPECTOR BINARY REPOSITORY

REPOSITORY is a scratch git repository with a commit; tests/clients/run makes it. The inspector validates what it gets: results
against their output schemas, and with `--strict` the tools' schemas against what clients and models are known to understand.
"""

import json
import os
import subprocess
import sys

from served import served

ERAS = ("legacy", "modern")
TOOLS = 9
# The inspector's exit code for a tool's error result.
TOOL_ERROR = 5
DEADLINE_S = 60


class Inspector:
    """Asks once and ends; `where` are options, `server` is what it starts, if it is to start one."""

    def __init__(self, program, era, where, server):
        self.command = [program, "--cli", "--quiet", "--format", "json", "--protocol-era", era, *where]
        self.server = server

    def ask(self, method, *options, expect=0):
        """The result, as the server gave it; `expect` is the exit code that there must be."""
        asked = self.command + ["--method", method, *options, *self.server]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=DEADLINE_S)
        if done.returncode != expect:
            raise AssertionError(f"{asked}\nexit code {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)["result"]

    def call(self, tool, arguments, expect=0):
        """The result of calling a tool."""
        options = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return self.ask("tools/call", *options, expect=expect)


def check(holds, what):
    """A plain `assert` would vanish under `python -O`."""
    if not holds:
        raise AssertionError(what)


def text(result):
    return "".join(block["text"] for block in result["content"])


def lists_tools_that_every_client_understands(inspector):
    tools = inspector.ask("tools/list", "--strict")["tools"]
    check(len(tools) == TOOLS, f"{len(tools)} tools: {tools}")


def runs_what_is_allowed(inspector):
    job = inspector.call("execute_command", {"command": "git log -3"})["structuredContent"]
    check(job["job_id"] and job["rewritten"], f"no hardened job: {job}")


def lists_the_jobs_of_servers_that_are_gone(inspector):
    jobs = inspector.call("list_jobs", {})["structuredContent"]
    check(all(job["status"] != "running" for job in jobs["jobs"]), f"a new server has jobs that run: {jobs}")


def shows_who_denied_what_and_why(inspector):
    shown = text(inspector.call("execute_command", {"command": "rm -rf x"}, expect=TOOL_ERROR))
    check('policy "allowlist"' in shown and "program-not-allowed" in shown, f"no policy and code: {shown}")


def shows_errors_of_calls(inspector):
    shown = text(inspector.call("kill_job", {"job_id": "no-job"}, expect=TOOL_ERROR))
    check("there is no job no-job" in shown, f"an unknown job: {shown}")


SCENES = [
    lists_tools_that_every_client_understands,
    runs_what_is_allowed,
    lists_the_jobs_of_servers_that_are_gone,
    shows_who_denied_what_and_why,
    shows_errors_of_calls,
]


def main():
    program, binary, repository = sys.argv[1:]
    # The inspector passes on only a few variables of its own accord.
    variables = [f"-e{name}={value}" for name, value in os.environ.items() if name.startswith("XDG_")]
    for era in ERAS:
        play(Inspector(program, era, ["--cwd", repository, *variables], [binary, "serve"]), era, SCENES)
    print("over HTTP")
    with served(binary, repository) as (url, token):
        where = ["--transport", "http", "--server-url", url, "--header", f"Authorization: Bearer {token}"]
        for era in ERAS:
            # There is one server for all of them.
            scenes = [scene for scene in SCENES if scene is not lists_the_jobs_of_servers_that_are_gone]
            play(Inspector(program, era, where, []), era, scenes)


def play(inspector, era, scenes):
    for scene in scenes:
        scene(inspector)
        print(f"  {era:10}  {scene.__name__.replace('_', ' ')}")


if __name__ == "__main__":
    main()
