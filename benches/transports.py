#!/usr/bin/env python3
"""Calls tools of one server over standard input and output and over HTTP, and writes a Markdown table.

    cargo build --release
    benches/transports.py target/release/portcullis

Standard input and output is one connection; HTTP has 1, 10 and 100, each with one call after the other, at a port of 127.0.0.1 with a
token and, for 1, at a unix socket. The default policies judge. Requests are of the revision 2026-07-28, written before the clock
starts, and answers are read and not parsed, so that little of the client's own time counts; with many connections the threads of this
program take turns, so their latencies are upper bounds. Behind that: what 1,000 addresses of jobs that clients are told of cost the
server in memory while nothing happens. --calls N is how many calls are made for each figure (2000). Needs Linux (/proc) and Python
3.10 or newer, nothing else.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

CONFIG = """
[jobs]
max_running = 1000
max_queued = 10000
keep_finished = 100
[principals]
requests_per_s = 1000000
[history]
keep = false
[[policies]]
name = "allowlist"
component = "builtin:allowlist"
[policies.settings]
include = ["coreutils-read"]
[policies.settings.programs.true]
[policies.settings.programs.cat]
[[policies]]
name = "harden"
component = "builtin:harden"
may_rewrite = true
grants = { read = ["roots"] }
[[policies]]
name = "redact"
component = "builtin:redact"
"""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "transports", "version": "0"},
}
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
SUBSCRIPTIONS, STREAMS = 1000, 200
DEADLINE_S = 60


def message(method, params, number=1):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": META}}).encode()


def call(tool, arguments):
    return "tools/call", {"name": tool, "arguments": arguments}


class Stdio:
    """The one connection that standard input and output are."""

    def __init__(self, process):
        self.process = process

    def prepare(self, method, params):
        return message(method, params) + b"\n"

    def ask(self, prepared):
        self.process.stdin.write(prepared)
        self.process.stdin.flush()
        return self.process.stdout.readline()


class Http:
    """A connection that is kept."""

    def __init__(self, at, token):
        family = socket.AF_UNIX if isinstance(at, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(at)
        self.token = token

    def prepare(self, method, params):
        body = message(method, params)
        head = [
            "POST /mcp HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
            f"Mcp-Method: {method}",
            f"Content-Length: {len(body)}",
        ]
        head += [f"Mcp-Name: {params['name']}"] if "name" in params else []
        head += [f"Authorization: Bearer {self.token}"] if self.token else []
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def ask(self, prepared):
        self.send(prepared)
        head, body = self.head()
        length = int(LENGTH.search(head)[1])
        while len(body) < length:
            body += self.receive()
        return body

    def send(self, prepared):
        self.socket.sendall(prepared)

    def head(self):
        """The head of an answer that is none of a refusal, and what of its body came with it."""
        received = self.receive()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self.receive()
        if not received.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"refused: {received}")
        return received[:end], received[end + 4 :]

    def receive(self):
        received = self.socket.recv(1 << 16)
        if not received:
            raise RuntimeError("the server closed the connection")
        return received


class Server:
    """A server in a folder of its own; `address` is that of `--http`, or none."""

    def __init__(self, binary, folder, address):
        self.log = open(folder / "log", "w+")
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "home")}
        environment |= {f"XDG_{kind.upper()}_HOME": str(folder / kind) for kind in ("config", "state", "cache")}
        options = ["--http", address] if address else []
        self.process = subprocess.Popen(
            [binary, "--config", folder / "config.toml", "serve", *options],
            cwd=folder / "root", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )
        self.folder, self.at, self.token = folder, None, None
        if address:
            deadline = time.monotonic() + DEADLINE_S
            while not (found := re.search(r"serving MCP on (\S+)", (folder / "log").read_text())):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.01)
            self.at = found[1][5:] if found[1].startswith("unix:") else ("127.0.0.1", int(found[1].rsplit(":", 1)[1]))
            if not isinstance(self.at, str):
                self.token = re.search(r"^local (\S+)", (folder / "state/portcullis/http-token").read_text(), re.M)[1]

    def connect(self):
        return Http(self.at, self.token) if self.at else Stdio(self.process)

    def resident_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def made(connection, method, params):
    """The result of a call that must succeed."""
    answer = json.loads(connection.ask(connection.prepare(method, params)))
    if "result" not in answer or answer["result"].get("isError"):
        raise RuntimeError(answer)
    return answer["result"]


def measure(connections, method, params, calls):
    """Calls a second, and the milliseconds that each took."""
    each = max(1, calls // len(connections))
    times = [[] for _ in connections]
    begin = threading.Barrier(len(connections) + 1)

    def run(connection, took):
        prepared = connection.prepare(method, params)
        begin.wait()
        for _ in range(each):
            before = time.perf_counter()
            connection.ask(prepared)
            took.append((time.perf_counter() - before) * 1000)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(connections, times)]
    for thread in threads:
        thread.start()
    begin.wait()
    before = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - before
    return each * len(connections) / took, sorted(time for one in times for time in one)


def row(name, count, tool, rate, times, base):
    p50, p99 = statistics.median(times), times[min(len(times) - 1, len(times) * 99 // 100)]
    ratio = f"{p50 / base:.1f}" if base else ""
    print(f"| {tool} | {name} | {count} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {ratio} |", flush=True)
    return p50


def subscribe(server):
    """What the server grows by for addresses that clients are told of; the jobs are there before."""
    connection = server.connect()
    uris = []
    while len(uris) < SUBSCRIPTIONS:
        job = made(connection, *call("execute_command", {"command": "cat", "stdin": "open"}))["structuredContent"]["job_id"]
        uris += [f"job://{job}/{part}" for part in ("stdout", "stderr", "merged", "record")]
    time.sleep(1)
    before, each, streams = server.resident_kib(), SUBSCRIPTIONS // STREAMS, []
    for at in range(STREAMS):
        stream = server.connect()
        wanted = {"resourceSubscriptions": uris[at * each : (at + 1) * each]}
        stream.send(stream.prepare("subscriptions/listen", {"notifications": wanted}))
        stream.head()
        streams.append(stream)
    time.sleep(1)
    return server.resident_kib() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    binary = options.binary.resolve(strict=True)
    print("| tool | transport | connections | calls a second | p50, ms | p99, ms | p50 by that of stdio |")
    print("|---|---|---|---|---|---|---|")
    bases = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for below in ("root", "home", "config", "state", "cache"):
            (folder / below).mkdir(mode=0o755)
        (folder / "config.toml").write_text(CONFIG)
        (folder / "config.toml").chmod(0o644)
        socket_address = f"unix:{folder / 'state/portcullis.sock'}"
        for name, address, counts in (
            ("stdio", None, (1,)),
            ("HTTP, port", "127.0.0.1:0", (1, 10, 100)),
            ("HTTP, socket", socket_address, (1,)),
        ):
            server = Server(binary, folder, address)
            try:
                first = server.connect()
                job = made(first, *call("execute_command", {"command": "true", "wait_ms": 10_000}))["structuredContent"]["job_id"]
                tools = [("list_jobs", {}), ("tail_job_output", {"job_id": job}), ("execute_command", {"command": "true"})]
                for tool, arguments in tools:
                    for count in counts:
                        connections = [first] if count == 1 else [server.connect() for _ in range(count)]
                        measure(connections, *call(tool, arguments), options.calls // 10)
                        figures = measure(connections, *call(tool, arguments), options.calls)
                        p50 = row(name, count, tool, *figures, bases.get(tool) if count == 1 else None)
                        bases.setdefault(tool, p50)
                if counts[-1] == 100:
                    grown = subscribe(server)
                    print(f"\n{SUBSCRIPTIONS} addresses over {STREAMS} streams cost {grown} KiB.\n", flush=True)
            finally:
                server.end()


if __name__ == "__main__":
    main()
