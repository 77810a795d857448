"""The whole set of processes as `make run` starts it, and what CPU time each kind of them has taken."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

READY = re.compile(rb"^ready: (http://\S+)")
KINDS = {  # what a command line holds, and what the process is; others belong to whoever started them
    "shared.telemetry.otlp": "exporters",
    "services.gateway": "gateway",
    "services.engine": "engine",
    "services.detokenizer": "detokenizer",
    "redis-server": "redis",
}
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class WholeSet:
    url: str
    supervisor: psutil.Process

    def cpu_seconds(self) -> dict[str, float]:
        """Of each kind, since they were started."""
        found = dict.fromkeys(KINDS.values(), 0.0)
        for process in self.supervisor.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                times = process.cpu_times()
                if kind := self._kind(process):
                    found[kind] += times.user + times.system
        return found

    def _kind(self, process: psutil.Process) -> str:
        above: psutil.Process | None = process
        while above is not None and above != self.supervisor:
            command = " ".join(above.cmdline())
            for words, kind in KINDS.items():
                if words in command:
                    return kind
            above = above.parent()
        return ""


@asynccontextmanager
async def whole_set(folder: Path, environ: Mapping[str, str], *flags: str) -> AsyncIterator[WholeSet]:
    """Logs go to `folder`. Raises TimeoutError if it is not ready within PATIENCE_S."""
    command = (sys.executable, "-m", "tools.run", "--port", "0", "--run-dir", str(folder), *flags)
    pipe = asyncio.subprocess.PIPE
    environment = os.environ | environ | {"PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=environment)
    try:
        async with asyncio.timeout(PATIENCE_S):
            url = await _ready(process)
        yield WholeSet(url, psutil.Process(process.pid))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


async def _ready(process: asyncio.subprocess.Process) -> str:
    """Where it listens. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    async for line in process.stdout:
        if match := READY.match(line):
            return match[1].decode()
    raise RuntimeError("the set has ended before it was ready")
