"""Drives `portcullis serve --http` with the client of the Python package `fastmcp`, in both eras of the protocol.

    fastmcp_client.py BINARY REPOSITORY

The scenes are those of python_client.py, and a person who answers over HTTP.
"""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

from fastmcp import Client
from fastmcp.client import StreamableHttpTransport
from fastmcp.client.elicitation import ElicitResult
from mcp.shared.exceptions import MCPError

from python_client import ASKING, DEADLINE_S, MODES, SCENES, call, check, refusal, start
from served import served


class Same:
    """A client of fastmcp, called as that of `mcp` is."""

    def __init__(self, client):
        self.client = client

    async def list_tools(self):
        return SimpleNamespace(tools=await self.client.list_tools())

    async def call_tool(self, tool, arguments):
        return await self.client.call_tool(tool, arguments, raise_on_error=False)


@asynccontextmanager
async def connected(server, mode, **more):
    url, token = server
    async with Client(StreamableHttpTransport(url, auth=token), mode=mode, timeout=DEADLINE_S, **more) as client:
        check(client.protocol_version == MODES[mode], f"it speaks {client.protocol_version}")
        yield Same(client)


async def drive(server, mode, repository):
    async with connected(server, mode) as client:
        for scene in SCENES:
            await scene(client, repository)
            print(f"  {mode:10}  {scene.__name__.replace('_', ' ')}")
        job_id = (await start(client, "cat"))["job_id"]
    async with connected(server, mode) as client:
        status = await call(client, "get_job_status", job_id=job_id)
        check(status["status"] == "running", f"a job ended with its client, of which there can be more: {status}")


async def is_kept_out(server, mode):
    url, token = server
    try:
        async with connected((url, token[:-1]), mode) as client:
            await call(client, "list_jobs")
    except MCPError:
        # It does not say why.
        pass
    else:
        raise AssertionError("with another token it is served")
    print(f"  {mode:10}  is kept out with another token")


async def ask_a_person(server, mode):
    for says, runs in (("once", True), ("no", False)):
        asked = []

        async def answer(message, _kind, _params, _context):
            asked.append(message)
            return ElicitResult(action="accept", content={"answer": says})

        async with connected(server, mode, elicitation_handler=answer) as client:
            result = await client.call_tool("execute_command", {"command": "true", "wait_ms": 1000 * DEADLINE_S})
            check(result.is_error != runs, f"a person said {says}: {result}")
            check(len(asked) == 1 and "wants to run" in asked[0], f"the person was asked {asked}")
    async with connected(server, mode) as client:
        text, _ = await refusal(client, "execute_command", command="true")
        check("can not ask its user" in text, f"a client that can not ask was told: {text}")
    print(f"  {mode:10}  asks a person")


def main():
    binary, repository = sys.argv[1:]
    with served(binary, repository) as server:
        for mode in MODES:
            asyncio.run(drive(server, mode, Path(repository)))
            asyncio.run(is_kept_out(server, mode))
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "asking.toml"
    config.write_text(ASKING)
    config.chmod(0o644)
    with served(binary, repository, "--config", str(config)) as server:
        for mode in MODES:
            asyncio.run(ask_a_person(server, mode))


if __name__ == "__main__":
    main()
