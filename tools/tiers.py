"""Runs the test tiers one after the other, each in a pytest of its own, and ends with one line for each.

python -m tools.tiers unit bus        exit status 0 only if every tier passed
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED_OUT = ("unit", "kernels", "model", "architecture")  # tiers that compute and do not wait: one process per core


def run_tier(tier: str, pytest_args: list[str]) -> tuple[int, str]:
    """One pytest over tests/<tier>; its output passes through. Returns its exit status and its closing line."""
    command = [sys.executable, "-m", "pytest", "-q", f"tests/{tier}", *pytest_args]
    if tier in SHARED_OUT:
        command += ["-n", str(len(os.sched_getaffinity(0)))]
    # The colour and the short names of a terminal do not survive a pipe, so pytest is told what this one writes to.
    colour = "yes" if sys.stdout.isatty() else "no"
    last = ""
    with subprocess.Popen([*command, f"--color={colour}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as pytest:
        assert pytest.stdout is not None
        for line in pytest.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return pytest.returncode, last


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.tiers", description="Run test tiers; see tests/.")
    parser.add_argument("tiers", nargs="+", help="folders under tests/")
    parser.add_argument("--pytest-args", default="", help="more arguments for each pytest, as one string")
    args = parser.parse_args()
    status, closing = 0, []
    for tier in args.tiers:
        print(f"== tests/{tier}", flush=True)
        code, line = run_tier(tier, args.pytest_args.split())
        status = status or code
        closing.append(f"{'ok  ' if code == 0 else 'FAIL'}  {tier:<13} {line}")
    print("\n".join(["", *closing]), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
