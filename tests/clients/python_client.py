"""Drives `portcullis serve` with the client of the Python package `mcp`, in both eras of the protocol, over standard input and output
and over HTTP.

    python_client.py BINARY REPOSITORY

REPOSITORY is a scratch git repository with one commit; tests/clients/run makes it. The built-in configuration is tested, and one that asks a person about everything.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

from served import served

TOOLS = {
    "execute_command",
    "get_job_output",
    "get_job_status",
    "interact_with_job",
    "kill_job",
    "wait_for_job",
    "search_job_output",
    "list_jobs",
    "tail_job_output",
}
# How the client begins, and the revision that must come of it.
MODES = {"auto": "2026-07-28", "2026-07-28": "2026-07-28", "legacy": "2025-11-25"}
# Put together here, so that scanners for leaked secrets leave this file alone.
SECRET = "ghp_" + "R7mK2vXq9TzLw4BnYc8HdJ5sPf3AeGu6WkQx"
# Only a server that hangs takes as long.
DEADLINE_S = 30


def check(holds, what):
    """A plain `assert` would vanish under `python -O`."""
    if not holds:
        raise AssertionError(what)


async def call(client, tool, **arguments):
    """The structured result of a call that must succeed."""
    result = await client.call_tool(tool, arguments)
    check(not result.is_error, f"{tool} {arguments} failed: {result.content}")
    return result.structured_content


async def refusal(client, tool, **arguments):
    """The text and the metadata of a call that must be answered with an error result."""
    result = await client.call_tool(tool, arguments)
    check(result.is_error, f"{tool} {arguments} was not refused: {result.content}")
    return "".join(block.text for block in result.content), result.meta or {}


async def start(client, command):
    return await call(client, "execute_command", command=command)


async def ended(client, job_id):
    """The status of a job, once it is final."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        status = await call(client, "get_job_status", job_id=job_id)
        if status["status"] != "running":
            return status
        check(time.monotonic() < deadline, f"the job does not end: {status}")
        await asyncio.sleep(0.01)


async def shows_the_tools(client, _):
    tools = (await client.list_tools()).tools
    check({tool.name for tool in tools} == TOOLS, f"other tools than expected: {[tool.name for tool in tools]}")
    for tool in tools:
        complete = tool.description and tool.input_schema and tool.output_schema and tool.annotations
        check(complete, f"{tool.name} lacks a description, a schema or annotations")


async def runs_a_command_in_hardened_form(client, _):
    job = await start(client, "git log -3")
    check(job["rewritten"] and "core.fsmonitor=false" in job["runs"], f"git was not hardened: {job}")
    status = await ended(client, job["job_id"])
    check(status["status"] == "completed" and status["exit_code"] == 0, f"git failed: {status}")
    output = await call(client, "get_job_output", job_id=job["job_id"])
    check("the commit that clients look for" in output["stdout"], f"the commit is missing: {output}")
    jobs = (await call(client, "list_jobs"))["jobs"]
    check(jobs[0]["job_id"] == job["job_id"], f"the newest job does not come first: {jobs}")


async def says_why_a_command_is_denied(client, repository):
    precious = repository / "precious"
    precious.write_text("still here\n")
    text, meta = await refusal(client, "execute_command", command="rm -rf precious")
    check('policy "allowlist"' in text and "program-not-allowed" in text, f"no policy and code: {text}")
    denial = meta.get("portcullis/denial", {})
    check(denial.get("policy") == "allowlist" and denial.get("code") == "program-not-allowed", f"no metadata: {meta}")
    check(precious.exists(), "the denied command ran")


async def keeps_a_secret_back(client, repository):
    (repository / "notes.txt").write_text(f"before {SECRET} behind\n")
    job = await start(client, "cat notes.txt")
    await ended(client, job["job_id"])
    for tool in ("get_job_output", "tail_job_output"):
        stdout = (await call(client, tool, job_id=job["job_id"]))["stdout"]
        check(SECRET not in stdout, f"{tool} shows the secret")
        check(stdout.startswith("before [redacted: ") and stdout.endswith("] behind\n"), f"not redacted as expected: {stdout!r}")
    text, _ = await refusal(client, "execute_command", command=f"no-such-program {SECRET}")
    check(SECRET not in text, "a refusal shows the secret")


async def talks_to_a_job_and_kills_it(client, _):
    job_id = (await start(client, "cat"))["job_id"]
    answer = await call(client, "interact_with_job", job_id=job_id, input="anybody there?")
    check(answer["stdout"] == "anybody there?\n" and answer["status"] == "running", f"no echo: {answer}")
    check((await call(client, "kill_job", job_id=job_id))["status"] == "killed", "the job was not killed")
    status = await ended(client, job_id)
    check(status["status"] == "killed" and status["signal"] == 15, f"not killed by SIGTERM: {status}")
    again = (await call(client, "kill_job", job_id=job_id))["status"]
    check(again == "already_terminated", f"killed twice: {again}")


async def answers_bad_calls_and_goes_on(client, _):
    text, _ = await refusal(client, "get_job_status", job_id="5f0c4ba5-3f2c-4b1f-9d52-000000000000")
    check("no job" in text, f"an unknown job: {text}")
    await refusal(client, "execute_command", command=["git", "log"])
    await refusal(client, "execute_command", command="")
    await call(client, "list_jobs")


SCENES = [
    shows_the_tools,
    runs_a_command_in_hardened_form,
    says_why_a_command_is_denied,
    keeps_a_secret_back,
    talks_to_a_job_and_kills_it,
    answers_bad_calls_and_goes_on,
]


def is_running(pid):
    """Whether the process is there and more than an entry that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def drive(server, mode, repository):
    """All scenes; then the process of a job that still runs."""
    async with Client(server, mode=mode, read_timeout_seconds=DEADLINE_S) as client:
        check(client.protocol_version == MODES[mode], f"it speaks {client.protocol_version}")
        # A client that pins the revision of 2026-07-28 asks nothing before its first call.
        if mode != "2026-07-28":
            check(client.server_info.name == "portcullis", f"it calls itself {client.server_info}")
            check(client.instructions, "the server gives no instructions")
        for scene in SCENES:
            await scene(client, repository)
            print(f"  {mode:10}  {scene.__name__.replace('_', ' ')}")
        job_id = (await start(client, "cat"))["job_id"]
        pid = (await call(client, "get_job_status", job_id=job_id))["pid"]
        check(is_running(pid), "the last job does not run")
    return pid


async def drive_over_pipes(server, mode, repository):
    gone(mode, await drive(server, mode, repository))


async def drive_over_http(url, token, mode, repository):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http:
        pid = await drive(streamable_http_client(url, http_client=http), mode, repository)
    check(is_running(pid), "a job ended with its client, of which there can be more")
    return pid


def gone(mode, pid):
    deadline = time.monotonic() + DEADLINE_S
    while is_running(pid):
        check(time.monotonic() < deadline, "a job outlived its server")
        time.sleep(0.01)
    print(f"  {mode:10}  leaves no job behind")


def person(says, asked):
    """Someone behind the client who answers every question so."""

    async def answer(_, question):
        asked.append(question.message)
        return ElicitResult(action="accept", content={"answer": says})

    return answer


async def ask_a_person(server, mode):
    for says, runs in (("once", True), ("no", False)):
        asked = []
        async with Client(
            server, mode=mode, read_timeout_seconds=DEADLINE_S, elicitation_callback=person(says, asked)
        ) as client:
            result = await client.call_tool("execute_command", {"command": "true", "wait_ms": 1000 * DEADLINE_S})
            check(result.is_error != runs, f"a person said {says}: {result}")
            check(len(asked) == 1 and "wants to run" in asked[0], f"the person was asked {asked}")
    async with Client(server, mode=mode, read_timeout_seconds=DEADLINE_S) as client:
        text, _ = await refusal(client, "execute_command", command="true")
        check("can not ask its user" in text, f"a client that can not ask was told: {text}")
    print(f"  {mode:10}  asks a person")


ASKING = """
[ask]
trust_client = true
[decision]
default = "ask"
[[policies]]
name = "redact"
component = "builtin:redact"
"""


def main():
    binary, repository = sys.argv[1:]
    # The client passes on only a few variables of its own accord.
    server = StdioServerParameters(command=binary, args=["serve"], env=dict(os.environ), cwd=repository)
    for mode in MODES:
        asyncio.run(drive_over_pipes(server, mode, Path(repository)))
    print("over HTTP")
    with served(binary, repository) as (url, token):
        left = {mode: asyncio.run(drive_over_http(url, token, mode, Path(repository))) for mode in MODES}
    for mode, pid in left.items():
        gone(mode, pid)
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "asking.toml"
    config.write_text(ASKING)
    config.chmod(0o644)
    server = StdioServerParameters(
        command=binary, args=["--config", str(config), "serve"], env=dict(os.environ), cwd=repository
    )
    for mode in MODES:
        asyncio.run(ask_a_person(server, mode))


if __name__ == "__main__":
    main()
