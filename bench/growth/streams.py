"""A step's cost in the services behind the engines: what each brings one token of is a stream, and a client."""

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from bench.growth.series import Sweep
from bench.rigs.detokenizer import detokenizer_rig
from bench.rigs.gateway import gateway_rig
from bench.rigs.still import run, uncollected


def detokenizer(sizes: Sequence[int], steps: int) -> Sweep:
    costs = [run(_detokenizer(size, steps)) for size in sizes]
    return Sweep("streams of a detokenizer", "one token each in a step", "linear", sizes, {"all": costs})


def gateway(sizes: Sequence[int], steps: int) -> Sweep:
    costs = [run(_gateway(size, steps)) for size in sizes]
    return Sweep("clients of a gateway", "one frame each in a step", "linear", sizes, {"all": costs})


async def _detokenizer(streams: int, steps: int) -> float:
    print(f"  {streams:,} streams", file=sys.stderr, flush=True)
    async with detokenizer_rig(streams) as rig:
        return await _median_ms(rig.step, [rig.entry(1) for _ in range(steps)])


async def _gateway(clients: int, steps: int) -> float:
    print(f"  {clients:,} clients", file=sys.stderr, flush=True)
    async with gateway_rig(clients) as rig:
        return await _median_ms(rig.step, [rig.event() for _ in range(steps)])


async def _median_ms(step: Callable[[bytes], Awaitable[None]], inputs: Sequence[bytes]) -> float:
    """Of this thread's CPU time."""
    costs = []
    with uncollected():
        for given in inputs:
            began = time.thread_time()
            await step(given)
            costs.append(1000 * (time.thread_time() - began))
    return median(costs)
