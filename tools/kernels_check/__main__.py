"""Compiles every kernel in every configuration, without a GPU, and refuses what spills or does not fit into the card.

python -m tools.kernels_check                                     sm_80, sm_90 and sm_100
python -m tools.kernels_check --arch sm_90 --op decode_attention  one of each

For each launch it prints warps, registers of a thread, shared memory, bytes spilled, and for each case the bytes that
must cross the memory bus at least. Registers and spills are what `ptxas -v` says (cuobjdump does not show spills).
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import triton

from kernels._case import ARCHS
from tools.kernels_check import cache
from tools.kernels_check.compile import Compiled

ROOT = cache.ROOT
# What one block may ask for at most: CUDA C++ programming guide, "Technical specifications per compute capability".
SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}


def all_ops() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("kernels/*/cases.py"))


def compile_missing(ops: list[str], archs: list[str], folder: Path) -> int:
    """Every (op, arch) that has no result yet, in processes of their own. Returns how many there were."""
    todo = {arch: [op for op in ops if cache.load(folder, op, arch) is None] for arch in archs}
    workers = os.cpu_count() or 1
    shares = [(arch, missing[i::workers]) for arch, missing in todo.items() for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(_compile, arch, share, folder) for arch, share in shares if share]:
            done.result()
    return sum(len(missing) for missing in todo.values())


def _compile(arch: str, ops: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "tools.kernels_check.compile", arch, *ops]
    environ = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        result = json.loads(line)
        cache.store(folder, result["op"], arch, result["compiled"])
    if done.returncode:
        raise SystemExit(f"kernels_check: {arch} {' '.join(ops)} did not compile; see above")


def faults(row: Compiled, arch: str) -> list[str]:
    wrong = []
    if row.spilled or row.stack:
        wrong.append(f"spills {row.spilled} bytes, stack {row.stack}")
    if row.shared > SHARED[arch]:
        wrong.append(f"{row.shared} bytes of shared memory, {arch} has {SHARED[arch]}")
    return wrong


def report(ops: list[str], archs: list[str], folder: Path) -> int:
    """Prints the table; returns how many launches are at fault."""
    print(f"triton {triton.__version__}\n{'case':42} {'kernel':16} arch   warps regs  shared  spills      bytes")
    bad = 0
    for arch in archs:
        for op in ops:
            for row in cache.load(folder, op, arch) or []:
                wrong = faults(row, arch)
                bad += bool(wrong)
                print(
                    f"{row.case:42} {row.kernel:16} {arch:6} {row.warps:5} {row.registers:4} {row.shared:7} "
                    f"{row.spilled:7} {row.moved:10} {'; '.join(wrong)}".rstrip()
                )
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.kernels_check", description="Compile all kernels.")
    parser.add_argument("--arch", action="append", choices=sorted(SHARED), help="again for more; without it, all")
    parser.add_argument("--op", action="append", choices=all_ops(), help="again for more; without it, all")
    parser.add_argument("--cache", type=Path, default=ROOT / ".run" / "kernels_check", help="where results are kept")
    args = parser.parse_args()
    ops, archs = args.op or all_ops(), args.arch or [f"sm_{arch}" for arch in ARCHS]
    compiled = compile_missing(ops, archs, args.cache)
    bad = report(ops, archs, args.cache)
    print(f"{compiled} of {len(ops) * len(archs)} compiled now, the others known; {bad} launches at fault")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
