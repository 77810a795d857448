"""One round of load on one system: what is asked, by which generator, and the figures it writes.

A generator is a process of its own that writes one JSON object in the form of `vllm bench serve --save-detailed`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

PATIENCE_S = 600.0
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Load:
    requests: int
    clients: int  # that ask at once, each again when it is answered
    tokens_in: int
    tokens_out: int
    rate: float | None = None  # requests a second, as a Poisson process, however many are open; None: `clients` ask

    @property
    def tokens(self) -> int:
        return self.requests * self.tokens_out


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies are as a client sees them: until the first frame (TTFT), from one frame to the next (ITL), and for each
    token but the first on an answer's average (TPOT), which does not depend on how many came at once."""

    requests: int  # answered to their end
    tokens: int
    seconds: float
    tokens_per_s: float
    frames_per_token: float
    ttft_ms: float
    ttft_p99_ms: float
    tpot_ms: float
    itl_ms: float
    itl_p99_ms: float

    def fault(self, load: Load) -> str:
        """Why the round does not count; empty if it does."""
        if (self.requests, self.tokens) == (load.requests, load.tokens):
            return ""
        return f"{self.requests:,} of {load.requests:,} requests, {self.tokens:,} of {load.tokens:,} tokens"


def parse(result: Mapping[str, Any]) -> Figures:
    """Raises ValueError, naming the field, for a result that is not in the form above."""
    try:
        frames = sum(1 + len(gaps) for gaps, first in zip(result["itls"], result["ttfts"], strict=True) if first)
        return Figures(
            requests=int(result["completed"]),
            tokens=int(result["total_output_tokens"]),
            seconds=float(result["duration"]),
            tokens_per_s=float(result["output_throughput"]),
            frames_per_token=frames / max(1, int(result["total_output_tokens"])),
            ttft_ms=float(result["median_ttft_ms"]),
            ttft_p99_ms=float(result["p99_ttft_ms"]),
            tpot_ms=float(result["median_tpot_ms"]),
            itl_ms=float(result["median_itl_ms"]),
            itl_p99_ms=float(result["p99_itl_ms"]),
        )
    except KeyError as error:
        raise ValueError(f"the generator's result has no {error}") from None


async def run(load: Load, url: str, model: Path, seed: int, generator: Path | None) -> Figures:
    """By the generator of that tool, or by ours without one. Raises RuntimeError if it fails.

    It gets no session of its own: Linux shares cores out among sessions first (`sched_autogroup`), and a generator that
    waits for its share reads frames late, by seconds.
    """
    with TemporaryDirectory(prefix="sluice-bench-") as folder:
        process = await asyncio.create_subprocess_exec(
            *command(load, url, model, seed, generator, folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,  # the tool may be a script around the generator
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        written = await asyncio.to_thread(_read, Path(folder, RESULT))
    if process.returncode or not written:
        raise RuntimeError(f"the load generator has failed ({process.returncode}):\n{said.decode()[-2000:]}")
    return parse(orjson.loads(written))


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def command(load: Load, url: str, model: Path, seed: int, generator: Path | None, folder: str) -> tuple[str, ...]:
    at_once = load.clients if load.rate is None else load.requests
    numbers = (load.tokens_in, load.tokens_out, load.requests, at_once)
    return (
        *((str(generator), "bench") if generator else (sys.executable, "-m", "bench.vs_vllm.generator")),
        *(url, str(model), *map(str, numbers)),
        *("--seed", str(seed), "--temperature", "1", "--result-dir", folder, "--result-filename", RESULT),
        *(("--request-rate", str(load.rate)) if load.rate is not None else ()),
        *(("--save-result", "--save-detailed") if generator else ()),
    )
