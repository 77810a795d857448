"""One engine's step against what it holds: rows, their context, and who waits."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

from bench.growth.series import Sweep
from bench.planning import Step, steady_steps
from bench.rigs.engine import engine_rig
from bench.rigs.still import run, uncollected

ROWS, CONTEXT = 64, 128
CONTEXT_ROWS = 16  # of 131,072 tokens each, that is 2 million
PARTS = {"plan": "plan_ms", "pack + submit": "submit_ms", "commit": "commit_ms"}


def rows(sizes: Sequence[int], steps: int) -> Sweep:
    lines = _lines([(size, CONTEXT, 0, False) for size in sizes], steps)
    lines["all, with the way to the bus"] = [run(whole(size, steps)) for size in sizes]
    return Sweep("running requests", f"context of {CONTEXT} tokens, nobody waits", "linear", sizes, lines)


def context(sizes: Sequence[int], steps: int) -> Sweep:
    lines = _lines([(CONTEXT_ROWS, size, 0, False) for size in sizes], steps)
    return Sweep("tokens of context", f"{CONTEXT_ROWS} requests run, nobody waits", "flat", sizes, lines)


def queue(sizes: Sequence[int], steps: int) -> Sweep:
    lines = _lines([(ROWS, CONTEXT, size, False) for size in sizes], steps)
    moving = _lines([(ROWS, CONTEXT, size, True) for size in sizes if size], min(steps, ROWS - 8))
    parts = [sum(costs) for costs in zip(*moving.values(), strict=True)]
    lines["all, one comes and goes"] = [parts[0]] * (0 in sizes) + parts
    about = f"{ROWS} requests of {CONTEXT} tokens run"
    return Sweep("requests that wait", about, "flat", sizes, lines)


async def whole(running: int, steps: int) -> float:
    """Milliseconds of a step of the whole engine: its loop, what it measures, and its entry on the bus."""
    costs = []
    async with engine_rig(running, steps) as rig:
        with uncollected():
            for _ in range(steps):
                began = time.thread_time()
                await rig.step()
                costs.append(1000 * (time.thread_time() - began))
    return median(costs)


def _lines(cases: Sequence[tuple[int, int, int, bool]], steps: int) -> dict[str, list[float]]:
    lines: dict[str, list[float]] = {part: [] for part in PARTS}
    for running, tokens, waiting, leaving in cases:
        print(f"  {running:,} run, {tokens:,} tokens each, {waiting:,} wait", file=sys.stderr, flush=True)
        measured = asyncio.run(steady_steps(running, tokens, waiting, steps, leaving=leaving))
        for part, cost in _medians(measured):
            lines[part].append(cost)
    return lines


def _medians(steps: Sequence[Step]) -> Iterator[tuple[str, float]]:
    for part, name in PARTS.items():
        yield part, median(getattr(step, name) for step in steps)
