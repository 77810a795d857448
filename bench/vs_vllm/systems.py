"""The two systems under load: each a tree of processes behind one URL, that says what CPU time and memory it takes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from bench.whole_set import whole_set
from tools.run.embedded import free_port

SLUICE, PEER = "Sluice", "vLLM"
PATIENCE_S, GRACE_S, PAUSE_S = 600.0, 30.0, 0.1
LOOK_S, AT_REST = 0.5, 0.1  # seconds, and the share of a core that a system takes at most when it has come to rest
TITLE = "VLLM::"  # how vLLM's processes but the first call themselves
API_SERVER = "API server"
PEER_KINDS = {"APIServer": API_SERVER, "EngineCore": "EngineCore", "Worker": "worker"}
QUIET = {name: "" for name in os.environ if name.startswith("OTEL_")}


@dataclass(frozen=True, slots=True)
class System:
    name: str
    url: str
    start_s: float  # from the start of its first process until it says that it is ready
    version: str
    root: psutil.Process
    cpu_seconds: Callable[[], Mapping[str, float]]  # by kind of process, since they were started

    def pss_bytes(self) -> int:
        """Resident memory of the whole tree; what processes share is counted once."""
        return sum(map(_pss, tree(self.root)))

    async def idle_share(self, seconds: float) -> float:
        """CPU seconds a second that it takes while nobody asks for anything."""
        before = sum(self.cpu_seconds().values())
        await asyncio.sleep(seconds)
        return (sum(self.cpu_seconds().values()) - before) / seconds

    async def rest(self) -> None:
        """Wait until it has come to rest: vLLM's worker looks for work for seconds after its last request, and takes a
        whole core from whoever is loaded next. Raises TimeoutError after GRACE_S."""
        async with asyncio.timeout(GRACE_S):
            while await self.idle_share(LOOK_S) > AT_REST:
                pass


@asynccontextmanager
async def sluice(model: Path, folder: Path, engine_args: str) -> AsyncIterator[System]:
    began = time.perf_counter()
    flags = ("--model", str(model), "--device", "cpu", f"--engine-args=--dtype bfloat16 {engine_args}")
    async with whole_set(folder, QUIET, *flags) as running:
        start_s = time.perf_counter() - began
        yield System(SLUICE, running.url, start_s, "", running.supervisor, running.cpu_seconds)


@asynccontextmanager
async def peer(tool: Path, model: Path, folder: Path, flags: Sequence[str]) -> AsyncIterator[System]:
    """Raises RuntimeError, with the end of its log, if it ends before it is ready; TimeoutError after PATIENCE_S."""
    port, log, began = free_port("127.0.0.1"), folder / "peer.log", time.perf_counter()
    command = (str(tool), "serve", str(model), str(port), "--dtype", "bfloat16", *flags)
    with log.open("wb") as written:  # no session of its own: see load.run
        process = await asyncio.create_subprocess_exec(*command, stdout=written, stderr=written, process_group=0)
    try:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            while not await _healthy(session, url):
                if process.returncode is not None:
                    raise RuntimeError(f"the peer has ended before it was ready:\n{log.read_text()[-2000:]}")
                await asyncio.sleep(PAUSE_S)
            start_s = time.perf_counter() - began
            version = await _version(session, url)
        root = psutil.Process(process.pid)
        yield System(PEER, url, start_s, version, root, lambda: peer_cpu_seconds(root))
    finally:
        await _end(process)


def tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def peer_cpu_seconds(root: psutil.Process) -> dict[str, float]:
    found = dict.fromkeys(PEER_KINDS.values(), 0.0)
    for process in tree(root):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            kind = peer_kind([" ".join(one.cmdline()) for one in (process, *process.parents())])
            found[kind] = found.get(kind, 0.0) + times.user + times.system
    return found


def peer_kind(commands: Sequence[str]) -> str:
    """From the command line of a process and of those above it: the nearest title says whose work it does."""
    title = next((command.removeprefix(TITLE) for command in commands if command.startswith(TITLE)), "APIServer")
    return next((kind for name, kind in PEER_KINDS.items() if title.startswith(name)), title.split()[0])


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


async def _healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _version(session: aiohttp.ClientSession, url: str) -> str:
    """Nothing if it does not tell."""
    async with session.get(f"{url}/version") as answer:
        return str((await answer.json())["version"]) if answer.status == 200 else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupted, it ends its children itself; whatever is left after GRACE_S is killed."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
