"""The load generator: `swarm.c`, compiled when it is first needed, and what it tells. It is in C so that 1,024 streams
cost it a fraction of what they cost the servers."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.clock_model import WORDS
from services.engine.worker.sim import TICK_S

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
COUNTING = b"counting\n"
SLACK_S = 30.0  # for connecting and telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Streams that are open at once, tokens of each answer, and for how long: not counted, counted."""

    clients: int
    tokens: int
    warm_up_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds; zeros where there is nothing to count."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the clients got while it counted. `frames` are events with text, `events` are all."""

    seconds: float
    cpu_seconds: float  # the generator's own
    open: int  # clients at the end
    failures: int
    failure: str  # the first
    events: int
    frames: int
    tokens: int
    bytes: int
    answers: int
    ttft_ms: Spread  # from request to first text
    age_ms: Spread  # of each token, from the end of its step to the client


def compiled(folder: Path = Path(".run")) -> Path:
    """The program, compiled anew if its source is newer. Raises RuntimeError where there is no C compiler."""
    program = folder / "swarm"
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return program
    if not (compiler := shutil.which(os.environ.get("CC", "cc"))):
        raise RuntimeError("the load generator is in C and there is no compiler: install one as `cc`, or set CC")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"swarm.{os.getpid()}"
    done = subprocess.run([compiler, *FLAGS, "-o", fresh, SOURCE], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{compiler} cannot compile {SOURCE.name}:\n{done.stderr}")
    return fresh.replace(program)


async def swarm(
    program: Path, port: int, model: str, load: Load, began: Callable[[], None] = lambda: None, words: int = WORDS
) -> Heard:
    """Load the server at `port` of this machine; `began` is called when counting begins. Raises RuntimeError if it
    ends without a word."""
    numbers = (port, load.clients, load.tokens, load.warm_up_s, load.seconds, words, round(TICK_S * 1e6))
    command = (str(program), *map(str, numbers), model)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(load.warm_up_s + load.seconds + SLACK_S):
            if await process.stdout.readline() == COUNTING:
                began()
            told = await process.stdout.readline()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not told:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
    return heard(orjson.loads(told))


def heard(told: dict[str, Any]) -> Heard:
    spreads: dict[str, Any] = {name: Spread(**told[name]) for name in ("ttft_ms", "age_ms")}
    return Heard(**told | spreads)
