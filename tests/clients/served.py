"""A server over HTTP, for the clients that are driven here."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

DEADLINE_S = 30


@contextlib.contextmanager
def served(binary, repository, *options):
    """The address of a server at a port of its own, and the token it made for itself."""
    with tempfile.NamedTemporaryFile("r") as log:
        with open(log.name, "w") as stderr:
            command = [binary, *options, "serve", "--http", "127.0.0.1:0"]
            # The address is told at this level.
            environment = os.environ | {"PORTCULLIS_LOG": "info"}
            process = subprocess.Popen(command, cwd=repository, env=environment, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not (found := re.search(r"serving MCP on (\S+)", Path(log.name).read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server does not listen: {Path(log.name).read_text()}")
                time.sleep(0.01)
            token = Path(os.environ["XDG_STATE_HOME"]) / "portcullis/http-token"
            yield f"{found[1]}/mcp", re.search(r"^local (\S+)", token.read_text(), re.MULTILINE)[1]
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(DEADLINE_S) != 128 + signal.SIGTERM:
                raise AssertionError(f"the server ended with {process.returncode}: {Path(log.name).read_text()}")
