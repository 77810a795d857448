"""Measures the engine on the GPU at hand and proves it right there, in under 8 minutes.

python -m tools.gpu_check                              everything
python -m tools.gpu_check --sections accuracy,speed    some of it
python -m tools.gpu_check --dry-run                    every branch of it, tiny, on a CPU

Ends with status 0 if every section ran to its end and nothing was wrong; figures that were missed are no failure.
"""

import argparse
import platform
import shlex
import signal
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from tools.gpu_check.conduct import Conductor, Limits
from tools.gpu_check.report import Report
from tools.gpu_check.sections import SECTIONS, TOTAL_S
from tools.gpu_check.settings import DRY_MODELS, MODELS, ROOT, Settings
from tools.gpu_check.verdict import verdicts

OUT, DRY_OUT = ROOT / "bench" / "results", ROOT / ".run" / "gpu-check"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description="The engine on this GPU.")
    names = ",".join(section.name for section in SECTIONS)
    parser.add_argument("--sections", default=names, help=f"which of {names}")
    parser.add_argument("--models", help=f"which of {','.join(MODELS)}, in this order")
    parser.add_argument("--requests", type=int, help="of the workload, 256 unless given")
    parser.add_argument("--detokenizers", type=int, help="how many processes; a quarter of the cores, at most 4")
    parser.add_argument("--gateways", type=int, help="likewise")
    parser.add_argument("--clients", type=int, help="processes that make the load; likewise")
    parser.add_argument("--out", type=Path, help="where the JSON and the Markdown go; bench/results unless given")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on a CPU; figures mean nothing")
    arguments = parser.parse_args(argv)
    models = DRY_MODELS if arguments.dry_run else MODELS
    for flag, given, allowed in (
        ("sections", arguments.sections, names.split(",")),
        ("models", arguments.models or models[0], models),
    ):
        if unknown := [name for name in given.split(",") if name not in allowed]:
            parser.error(f"--{flag}: {unknown[0]!r} is none of {', '.join(allowed)}")
    for flag in ("requests", "detokenizers", "gateways", "clients"):
        if getattr(arguments, flag) is not None and getattr(arguments, flag) < 1:
            parser.error(f"--{flag} must be at least 1, not {getattr(arguments, flag)}")
    return arguments


def settings(arguments: argparse.Namespace) -> Settings:
    told = Settings.for_this_machine(dry=arguments.dry_run)
    counts = {name: getattr(arguments, name) for name in ("requests", "detokenizers", "gateways", "clients")}
    told = replace(told, **{name: count for name, count in counts.items() if count is not None})
    return replace(told, models=tuple(arguments.models.split(","))) if arguments.models else told


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    told, now = settings(arguments), datetime.now().astimezone()
    sections = [section for section in SECTIONS if section.name in arguments.sections.split(",")]
    about = {
        "command": shlex.join(["python", "-m", "tools.gpu_check", *argv]),
        "date": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "dry run": "yes: tiny sizes on a CPU, the figures mean nothing" if told.dry else "no",
    }
    folder = arguments.out or (DRY_OUT if told.dry else OUT)
    report = Report(folder, f"gpu-check-{now:%Y%m%d-%H%M%S}", about, {s.name: s.title for s in sections})
    print(f"results go to {report.markdown} as they come", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: ends what was started
    Conductor(told, report, Limits(time.monotonic() + TOTAL_S)).conduct(sections)
    judged = verdicts(report.known(), told.models)
    report.judge(judged)
    print("\n".join(f"{v.verdict:<13} {v.measured:>10}  {v.goal}" for v in judged))
    print(f"{report.json} and {report.markdown} are written")
    return 0 if all(state == "done" for state in report.states.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
