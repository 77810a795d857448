"""The whole set of processes as a user starts it, and a look at each from outside."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"^ready: (https?://\S+)$")
LISTENS = re.compile(r'listening on (http://[^\s"]+)')
PATIENCE_S = 60


class Stack:
    """`python -m tools.run` on a free port, ended by Ctrl-C; `lines` is what it printed until it was ready."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self._flags = flags
        self.lines: list[str] = []
        self.url = ""

    def __enter__(self) -> "Stack":
        command = [sys.executable, "-m", "tools.run", "--port", "0", "--run-dir", str(self.folder), *self._flags]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.processes = [psutil.Process(self._process.pid)]
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())
            if match := READY.match(line):
                self.url = match[1]
                self.processes += self.processes[0].children(recursive=True)
                return self
        self._process.wait(PATIENCE_S)
        raise AssertionError("the stack did not start:\n" + "\n".join([*self.lines, *self.logs()]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()

    def interrupt(self) -> int:
        """Ctrl-C; the supervisor's exit status. Everything it started must be gone then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode

    def process(self, service: str) -> psutil.Process:
        """The first process that runs now `services.<service>`."""
        return self.all_of(service)[0]

    def all_of(self, service: str) -> list[psutil.Process]:
        living = self.processes[0].children(recursive=True)
        return [p for p in living if f"services.{service}" in p.cmdline()]

    async def serving(self) -> None:
        """Until the public port answers that it serves, whichever gateway is met: each connection meets another."""
        async with asyncio.timeout(PATIENCE_S):
            ready = 0
            while ready < 20:
                ready = ready + 1 if await asyncio.to_thread(self._ready) else 0
                await asyncio.sleep(0 if ready else 0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=10) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def metrics(self, name: str) -> dict[str, float]:
        """What process `name`, "engine-0" for one, says at /metrics; the gateway's are at the public port."""
        lines = self.metrics_text(name).splitlines()
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def metrics_text(self, name: str) -> str:
        base = self.url if name.startswith("gateway") else self._address(name)
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as reply:
            text: str = reply.read().decode()
        return text

    def get(self, path: str) -> int:
        """The status with which the public port answers."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code

    def logs(self) -> list[str]:
        return [line for log in sorted(self.folder.glob("*.log")) for line in log.read_text().splitlines()[-30:]]

    def _address(self, name: str) -> str:
        found = LISTENS.findall((self.folder / f"{name}.log").read_text())
        assert found, f"{name} did not say where it listens"
        return str(found[-1])
