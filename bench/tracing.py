"""What it costs that every request is traced: the same load on two sets of processes, one of which exports.

python -m bench.tracing                 real processes and a real Redis; only the matrix products are simulated
python -m bench.tracing --device cpu    these are real too

Both sets stand side by side and are loaded in turn, so that whatever else the machine does hits both. Spans are made
for the timeline in any case; what is compared is sending those of every request, and metrics, to a collector.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import aiohttp
import orjson

from bench.whole_set import WholeSet, whole_set

RATE = "--sim-tokens-per-second 1000000"  # out of reach: the processes are what limits
EXPORTED = "sluice_gateway_exporter_exported"
QUIET = {name: "" for name in os.environ if name.startswith("OTEL_")}
OFF, ON = "off", "on"


@dataclass(frozen=True, slots=True)
class Round:
    """Some requests on one set. CPU seconds are by kind of process, for 1,000 tokens."""

    tokens_per_s: float
    cpu: Mapping[str, float]


async def loaded(running: WholeSet, requests: int, tokens: int, at_once: int) -> Round:
    before, start_s, gate = running.cpu_seconds(), time.perf_counter(), asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(_ask(session, gate, running.url, tokens), name="request") for _ in range(requests)]
    took_s, drawn = time.perf_counter() - start_s, sum(task.result() for task in made)
    after = running.cpu_seconds()
    return Round(drawn / took_s, {kind: (after[kind] - before[kind]) / drawn * 1000 for kind in after})


async def _ask(session: aiohttp.ClientSession, gate: asyncio.Semaphore, url: str, tokens: int) -> int:
    """How many tokens came, as the answer says."""
    fields = {"prompt": "Tell me a story about a fox.", "max_tokens": tokens, "ignore_eos": True}
    streamed = {"model": "sluice-demo", "stream": True, "stream_options": {"include_usage": True}}
    async with gate, session.post(f"{url}/v1/completions", json=fields | streamed) as answer:
        answer.raise_for_status()
        lines = (await answer.read()).splitlines()
    last = next(line for line in reversed(lines) if line.startswith(b"data: {"))
    return int(orjson.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"])


async def exported(running: WholeSet) -> float:
    """Spans that the gateway's exporter has brought to the collector; 0 if it has none."""
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{EXPORTED} "))


@contextmanager
def collector() -> Iterator[str]:
    """Its URL; a process of its own."""
    with subprocess.Popen((sys.executable, "-m", "bench.sink"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def measured(args: argparse.Namespace, folder: Path, sink: str) -> Mapping[str, Sequence[Round]]:
    """Rounds of each set, in turn. Raises RuntimeError if the one did not export, or the other did."""
    endpoint = QUIET | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink}
    flags = ("--device", args.device, *(("--engine-args", RATE) if args.device == "sim" else ()))
    async with AsyncExitStack() as stack:
        sets = {
            OFF: await stack.enter_async_context(whole_set(folder / OFF, QUIET, *flags)),
            ON: await stack.enter_async_context(whole_set(folder / ON, endpoint, *flags)),
        }
        rounds: dict[str, list[Round]] = {name: [] for name in sets}
        for turn in range(args.repeat + 1):  # the first warms up
            for name, running in sets.items():
                one = await loaded(running, args.requests, args.tokens, args.at_once)
                print(f"turn {turn} of {args.repeat}, {name}: {one.tokens_per_s:,.0f} tok/s", file=sys.stderr)
                if turn:
                    rounds[name].append(one)
        told = {name: await exported(running) for name, running in sets.items()}
    if told[OFF] or told[ON] < args.requests:
        raise RuntimeError(f"spans exported by the gateways: {told}")
    return rounds


def report(rounds: Mapping[str, Sequence[Round]]) -> Iterator[str]:
    speed = {name: median(one.tokens_per_s for one in of) for name, of in rounds.items()}
    ratios = sorted(on.tokens_per_s / off.tokens_per_s for off, on in zip(rounds[OFF], rounds[ON], strict=True))
    yield f"tokens a second, median of {len(ratios)}: off {speed[OFF]:,.0f}, on {speed[ON]:,.0f}"
    yield f"on : off, of neighbours: median {median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}"
    yield f"{'CPU s for 1,000 tokens':24}{OFF:>8}{ON:>8}{'on : off':>10}"
    for kind in rounds[OFF][0].cpu:
        off, on = (median(one.cpu[kind] for one in rounds[name]) for name in (OFF, ON))
        yield f"{kind:24}{off:8.3f}{on:8.3f}{f'{on / off:.2f}' if off else '-':>10}"
    off, on = (median(sum(one.cpu.values()) for one in rounds[name]) for name in (OFF, ON))
    yield f"{'all':24}{off:8.3f}{on:8.3f}{on / off:10.2f}"


def document(rounds: Mapping[str, Sequence[Round]]) -> dict[str, object]:
    """All rounds, and the set that exports against the other: of neighbouring rounds, sorted."""
    pairs = list(zip(rounds[OFF], rounds[ON], strict=True))
    throughput = sorted(on.tokens_per_s / off.tokens_per_s for off, on in pairs)
    cpu = sorted(sum(on.cpu.values()) / sum(off.cpu.values()) for off, on in pairs)
    told = {name: [asdict(one) for one in of] for name, of in rounds.items()}
    return {"on_to_off": {"throughput": throughput, "cpu_per_token": cpu}, "rounds": told}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=192, help="of a round")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--at-once", type=int, default=32, help="requests that are open together")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of each set, in turn, after one to warm up")
    parser.add_argument("--device", choices=("sim", "cpu"), default="sim", help="sim: what is traced is the limit")
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, collector() as sink:
        rounds = asyncio.run(measured(args, Path(folder), sink))
    for line in report(rounds):
        print(line, flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_bytes(orjson.dumps(document(rounds), option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
