"""What each of the three new habits is worth: sync/async x stateless/stateful x inline/service detokenizer.

python -m bench.ablation          the same load in eight ways, in turns; a table, a JSON and a picture
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import orjson
import torch
import uvloop

from bench.engine_run import OLD, WAYS, Bench, Load, Measured, Way, typical
from bench.picture import draw
from bench.service_set import service_set
from shared.errors import ConfigError

Runs = dict[Way, list[Measured]]
HEADINGS = f"{'':<28}{'tok/s':>9}{'busy':>9}{'loop CPU/step':>15}{'sent/step':>12}"


def row(way: Way, measured: Measured) -> str:
    """One line of the table."""
    cpu, kib = sum(measured.cpu_ms.values()), measured.bytes_per_step / 1024
    return f"{way!s:<28}{measured.tokens_per_s:>9,.0f}{measured.busy_share:>9.1%}{cpu:>12.2f} ms{kib:>8.1f} KiB"


async def measure(arguments: argparse.Namespace) -> Runs:
    """All ways in turns, so that what else the machine does hits each of them alike. The first turn only warms up."""
    load = Load(arguments.requests, arguments.prompt, arguments.tokens)
    runs: Runs = {way: [] for way in WAYS}
    bench = await asyncio.to_thread(Bench, Path(arguments.model), arguments.device, load)
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            async with service_set(Path(arguments.model), Path(folder)) as services:
                for turn in range(arguments.repeat + 1):
                    print(f"turn {turn} of {arguments.repeat}" + ("" if turn else " (warming up)"), flush=True)
                    for way in WAYS:
                        measured = await bench.run(way, services)
                        print("  " + row(way, measured), flush=True)
                        if turn:
                            runs[way].append(measured)
    finally:
        bench.close()
    return runs


def against_old(runs: Mapping[Way, Sequence[Measured]], way: Way) -> float:
    """How many times the throughput of the old way: the median of the ratios within each turn, so that a machine that
    is slower for a while says nothing."""
    pairs = zip(runs[way], runs[OLD], strict=True)
    return median(one.tokens_per_s / old.tokens_per_s for one, old in pairs)


def document(arguments: argparse.Namespace, runs: Mapping[Way, Sequence[Measured]]) -> dict[str, object]:
    """Everything measured but the spans."""
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.machine(),
        "device": _device(arguments.device),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    load = {name: getattr(arguments, name) for name in ("requests", "prompt", "tokens", "repeat")}
    ways = []
    for way, all in runs.items():
        told = {"against_old": round(against_old(runs, way), 3), "median": figures(typical(all))}
        ways.append(asdict(way) | told | {"runs": [figures(one) for one in all]})
    return {"machine": machine, "model": Path(arguments.model).name, "load": load, "ways": ways}


def figures(measured: Measured) -> dict[str, object]:
    return {
        "tokens_per_s": round(measured.tokens_per_s, 1),
        "busy_share": round(measured.busy_share, 4),
        "steps": measured.steps,
        "loop_cpu_ms_per_step": {name: round(ms, 4) for name, ms in measured.cpu_ms.items()},
        "bytes_per_step": measured.bytes_per_step,
    }


def _device(asked: str) -> str:
    return torch.cuda.get_device_name() if asked != "cpu" and torch.cuda.is_available() else "cpu"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ablation", description="The old ways against the new one.")
    parser.add_argument("--requests", type=int, default=32, help="how many run at once")
    parser.add_argument("--tokens", type=int, default=48, help="tokens drawn for each")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--repeat", type=int, default=5, help="turns that count, beyond the one that warms up")
    parser.add_argument("--model", default="models/demo", help="a directory in Hugging Face format")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/ablation.png"), help="the picture")
    parser.add_argument("--json", type=Path, help="all figures; beside the picture unless given")
    arguments = parser.parse_args()
    for name in ("requests", "tokens", "prompt", "repeat"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    try:
        runs = uvloop.run(measure(arguments))  # as the services do
    except ConfigError as error:
        parser.error(str(error))
    medians = {way: typical(all) for way, all in runs.items()}
    lines = [f"{row(way, one)}{against_old(runs, way):>9.2f}" for way, one in medians.items()]
    print("\n".join(["", f"medians of {arguments.repeat}", f"{HEADINGS}{'vs old':>9}", *lines]))
    told = document(arguments, runs)
    arguments.json = arguments.json or arguments.out.with_suffix(".json")
    for path in (arguments.out, arguments.json):
        path.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    draw(medians, told, arguments.out)
    print(f"\n{arguments.out} and {arguments.json} are written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
