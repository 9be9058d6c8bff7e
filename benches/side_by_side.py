#!/usr/bin/env python3
"""Runs mcp-background-job and portcullis through the same MCP calls, in turns, and writes a Markdown table.

    python3.12 -m venv venv && venv/bin/pip install mcp-background-job
    cargo build --release
    benches/side_by_side.py --seed venv/bin/mcp-background-job --gate target/release/portcullis

portcullis runs with its three default policies, told to allow the commands used here; mcp-background-job has none. Both are spoken to in
lines of JSON over pipes, so that no client's own time counts. Medians, unless a row says otherwise. --rounds N does everything N times
in turns (3); --megabytes N is the size of the long output (100). Needs Linux (/proc) and Python 3.10 or newer, nothing else.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

CONFIG = """
[jobs]
max_running = 300
output_bytes = {output_bytes}
output_total_bytes = 4294967296
keep_finished = 10000
grace_ms = 1000
[[policies]]
name = "allowlist"
component = "builtin:allowlist"
[policies.settings]
include = ["coreutils-read"]
[policies.settings.programs.sh]
operands = {{ kind = "any", max = 1 }}
options = {{ "-c" = "any" }}
[policies.settings.programs.sleep]
operands = {{ kind = "integer" }}
[policies.settings.programs.true]
[policies.settings.programs.cat]
input = true
[[policies]]
name = "harden"
component = "builtin:harden"
may_rewrite = true
grants = {{ read = ["roots"] }}
[[policies]]
name = "redact"
component = "builtin:redact"
"""


class Server:
    """A server on pipes, initialized as clients of 2025-06-18 do."""

    def __init__(self, command, folder, environment):
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.last_id = 0
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "side_by_side", "version": "0"}}
        self.ask("initialize", hello)
        self.started_in = time.perf_counter() - self.began
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, method, params):
        self.last_id += 1
        self.send({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        return self.last_id

    def answer(self, wanted):
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the server ended")
            message = json.loads(line)
            if message.get("id") == wanted:
                return message

    def ask(self, method, params):
        return self.answer(self.begin(method, params))

    def call(self, tool, **arguments):
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})["result"]
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result['content'][0]['text']}")
        return result.get("structuredContent") or json.loads(result["content"][0]["text"])

    def start(self, command):
        return self.call("execute_command", command=command)["job_id"]

    def wait(self, job):
        while self.call("get_job_status", job_id=job)["status"] in ("running", "queued"):
            time.sleep(0.002)

    def proc(self, name):
        return Path(f"/proc/{self.process.pid}/{name}")

    def resident_mb(self):
        """Of the server and of what belongs to it (portcullis starts jobs by a process of its own)."""
        pids = [self.process.pid, *children(self.process.pid)]
        return sum(field(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) / 1024

    def descriptors(self):
        return len(os.listdir(self.proc("fd")))

    def threads(self):
        return field(self.proc("status"), "Threads:")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def field(path, name):
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def children(pid):
    """Keeper and wardens, without jobs: those that run the same program."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    same = [int(child) for child in found if os.access(f"/proc/{child}/exe", os.R_OK) and os.readlink(f"/proc/{child}/exe") == program]
    return [one for child in same for one in (child, *children(child))]


def timed(deed, times):
    spans = []
    for _ in range(times):
        began = time.perf_counter()
        deed()
        spans.append((time.perf_counter() - began) * 1000)
    return statistics.median(spans)


def long_output(server, megabytes):
    began = time.perf_counter()
    job = server.start(f"cat {megabytes}.log")
    server.wait(job)
    return job, (time.perf_counter() - began) * 1000


def during_kill(server):
    """How long another call takes while a job that ignores TERM is killed, and the kill itself."""
    job = server.start("sh -c 'trap \"\" TERM; while :; do sleep 1; done'")
    time.sleep(0.3)
    began = time.perf_counter()
    killing = server.begin("tools/call", {"name": "kill_job", "arguments": {"job_id": job}})
    listing = server.begin("tools/call", {"name": "get_job_status", "arguments": {"job_id": job}})
    spans = {}
    while len(spans) < 2:
        message = json.loads(server.process.stdout.readline())
        if message.get("id") in (killing, listing):
            spans[message["id"]] = (time.perf_counter() - began) * 1000
    return spans[listing]


def left_behind(server, folder):
    """Processes of jobs that outlive a server that was killed."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    time.sleep(1)
    left = 0
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd") == str(folder):
                os.kill(int(entry), signal.SIGKILL)
                left += 1
        except OSError:
            pass
    return left


def measure(make, folder, megabytes):
    rows = {}
    server = make()
    rows["start to first answer, ms"] = server.started_in * 1000
    server.wait(server.start("true"))
    rows["start to the end of the first job, ms"] = (time.perf_counter() - server.began) * 1000
    time.sleep(1)
    rows["resident at rest, MB"] = server.resident_mb()
    rows["`execute_command` of `true`, ms"] = timed(lambda: server.start("true"), 40)
    # mcp-background-job counts jobs that have ended until somebody asks for them.
    for job in server.call("list_jobs")["jobs"]:
        server.wait(job["job_id"])
    rows["`list_jobs` of 41 jobs, ms"] = timed(lambda: server.call("list_jobs"), 50)
    job, span = long_output(server, megabytes)
    rows[f"a job that prints {megabytes} MB, ms"] = span
    rows["`tail_job_output`, 50 lines of it, ms"] = timed(lambda: server.call("tail_job_output", job_id=job, lines=50), 30)
    cat = server.start("cat")
    rows["`interact_with_job` with `cat`, ms"] = timed(lambda: server.call("interact_with_job", job_id=cat, input="hello"), 10)
    if server.call("list_jobs")["jobs"][0].get("duration_ms") is not None:
        prompt = lambda: server.call("interact_with_job", job_id=cat, input="hello", until="^hello$")
        rows["the same, told what to wait for, ms"] = timed(prompt, 30)
    server.call("kill_job", job_id=cat)
    rows["another call during a kill that takes long, ms"] = during_kill(server)
    before = server.descriptors()
    for _ in range(100):
        server.wait(server.start("true"))
    rows["descriptors left by 100 jobs"] = server.descriptors() - before
    server.close()
    server = make()
    before = server.threads()
    for _ in range(100):
        server.start("sh -c 'head -c 1000000 1.log; sleep 1000'")
    time.sleep(3)
    rows["100 jobs of 1 MB each, resident MB"] = server.resident_mb()
    rows["threads for them"] = server.threads() - before
    rows["processes left after SIGKILL of the server"] = left_behind(server, folder)
    return rows


def shown(value):
    return "—" if value is None else f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", required=True, help="the mcp-background-job command")
    parser.add_argument("--gate", required=True, help="the portcullis binary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp()).resolve()
    root, own = scratch / "root", scratch / "own"
    for folder in (root, own / "home"):
        folder.mkdir(parents=True)
    own.chmod(0o700)
    line = "2026-01-01T00:00:00Z INFO request served method=GET path=/index.html status=200 took=12ms bytes=4096 from=10.0.0.7\n"
    (root / "1.log").write_text((line * (1_000_000 // len(line) + 1))[:1_000_000])
    (root / f"{options.megabytes}.log").write_text(line * (options.megabytes * 1_000_000 // len(line)))
    config = own / "config.toml"
    config.write_text(CONFIG.format(output_bytes=options.megabytes * 1_100_000))
    config.chmod(0o600)
    base = {"PATH": os.environ["PATH"], "HOME": str(own / "home")}
    seed_environment = {**base, "MCP_BG_MAX_JOBS": "100", "MCP_BG_MAX_OUTPUT_SIZE": "104857600"}
    gate = [str(Path(options.gate).resolve()), "--config", str(config), "serve"]
    seed = [str(Path(options.seed).resolve())]
    makers = {
        "mcp-background-job": lambda: Server(seed, root, seed_environment),
        "portcullis": lambda: Server(gate, root, base),
    }
    # The first start compiles the policies; from then on they are taken from the cache.
    warm = makers["portcullis"]()
    warm.wait(warm.start("true"))
    warm.close()
    taken = {name: [] for name in makers}
    for _ in range(options.rounds):
        for name, make in makers.items():
            taken[name].append(measure(make, root, options.megabytes))
    table(taken)
    shutil.rmtree(scratch)


def table(taken):
    names = list(taken)
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    rows = list(dict.fromkeys(row for rounds in taken.values() for one in rounds for row in one))
    for row in rows:
        values = [[one[row] for one in taken[name] if one.get(row) is not None] for name in names]
        print(f"| {row} | " + " | ".join(shown(statistics.median(each) if each else None) for each in values) + " |")


if __name__ == "__main__":
    main()
