"""Compile the kernels of some ops for one architecture and print what came of it, as one line of JSON for each op.

python -m tools.kernels_check.compile sm_90 rms_norm silu_mul

The launchers run as they would on a GPU, on tensors of the meta device: so what is compiled, down to what is known of
each argument's divisors, is what a launch would compile. In the place of Triton's driver stands one without a device.
"""

import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from kernels._case import FULL, Case, Source

_USED = re.compile(r"Used (\d+) registers")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel as one case launches it; sizes in bytes."""

    case: str
    kernel: str
    warps: int
    registers: int  # of a thread
    spilled: int  # stores and loads
    stack: int
    shared: int
    moved: int  # by the whole case, at least


class _Target:
    """A driver without a device."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)


def pretend(arch: int) -> None:
    """From here on, in this process, launches find a card of sm_<arch>: it can be compiled for, but runs nothing."""
    driver.set_active(_Target(arch))


@contextmanager
def compiling(arch: int) -> Iterator[list[tuple[Any, str]]]:
    """Launches inside only compile. Yields what was launched: the kernel, and what ptxas said of it if it was new."""
    launched: list[tuple[Any, str]] = []
    run: Callable[..., Any] = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        said = StringIO()
        with redirect_stdout(said):
            kernel = run(self, *args, grid=grid, warmup=True, **options)
        launched.append((kernel, said.getvalue()))
        return kernel

    with tempfile.TemporaryDirectory() as cache, triton.knobs.nvidia.scope(), triton.knobs.cache.scope():
        triton.knobs.nvidia.dump_ptxas_log = True
        triton.knobs.cache.dir = cache
        pretend(arch)
        JITFunction.run = compile_only
        try:
            yield launched
        finally:
            JITFunction.run = run


def compile_cases(cases: tuple[Case, ...], arch: int) -> list[Compiled]:
    """Raises whatever Triton or ptxas have against a kernel."""
    reports: dict[str, tuple[int, int, int]] = {}
    done = []
    with compiling(arch) as launched:
        for case in (case for case in cases if arch in case.archs):
            launched.clear()
            inputs = case.inputs(FULL, Source(torch.device("meta")))
            case.launch(**inputs)
            moved = case.moved(inputs)
            for kernel, said in launched:
                if kernel.hash not in reports:
                    reports[kernel.hash] = _read(said)
                registers, spilled, stack = reports[kernel.hash]
                name, warps, shared = kernel.metadata.name, kernel.metadata.num_warps, kernel.metadata.shared
                done.append(Compiled(case.name, name, warps, registers, spilled, stack, shared, moved))
    return done


def _read(said: str) -> tuple[int, int, int]:
    """(registers, bytes spilled, bytes of stack) from `ptxas -v`."""
    used, spills = _USED.search(said), _SPILLS.search(said)
    if used is None or spills is None:
        raise RuntimeError(f"ptxas -v did not say what the kernel uses: {said!r}")
    stack, stores, loads = map(int, spills.groups())
    return int(used[1]), stores + loads, stack


def main() -> int:
    arch, ops = int(sys.argv[1].removeprefix("sm_")), sys.argv[2:]
    for op in ops:
        cases = importlib.import_module(f"kernels.{op}.cases").CASES
        print(json.dumps({"op": op, "compiled": [asdict(one) for one in compile_cases(cases, arch)]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
