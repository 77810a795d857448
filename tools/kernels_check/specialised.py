"""That a running server never waits for the compiler: what changes from step to step must not choose another kernel.

python -m tools.kernels_check.specialised

Triton compiles a kernel anew for an integer that is 1, or a multiple of 16, and for a pointer that is one; a compile
takes seconds. Here every case is launched with different numbers of rows, and so of tokens, and with every list of
integers lying elsewhere in memory, as parts of a step do: each kernel must ask for one and the same compile throughout.
Nothing is compiled, and no GPU needed. The width of tables and the strides of rows are a server's and stay as they are.
"""

import importlib
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
import triton
from torch import Tensor

from kernels._case import Case, Size, Source
from tools.kernels_check.__main__ import all_ops
from tools.kernels_check.compile import pretend

ROWS = (1, 2, 16, 17, 40)
CONTEXT = 96
META = torch.device("meta")


def compiles(case: Case) -> dict[str, set[str]]:
    """By kernel: what it would be compiled for."""
    asked: dict[str, set[str]] = defaultdict(set)

    def note(*, key: str, fn: Any, **_: Any) -> bool:
        asked[fn.name].add(key)
        return True  # which says: do not compile, do not launch

    pretend(90)
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.jit_cache_hook = note
        for rows in ROWS:
            inputs = case.inputs(Size(rows, CONTEXT), Source(META))
            case.launch(**inputs)
            case.launch(**_moved(inputs))
    return asked


def _moved(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Every list of integers begins one further on in memory."""
    return {name: _further(value) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def _further(values: Tensor) -> Tensor:
    if values.dim() != 1 or values.is_floating_point():
        return values
    return values.new_empty(len(values) + 1)[1:]


def main() -> int:
    wrong = 0
    for op in all_ops():
        cases = importlib.import_module(f"kernels.{op}.cases").CASES
        found = {case.name: compiles(case) for case in cases}
        several = {
            f"{case} {kernel}": keys for case, by in found.items() for kernel, keys in by.items() if len(keys) > 1
        }
        print(f"{op}: {len(cases)} cases, kernels {' '.join(sorted({name for by in found.values() for name in by}))}")
        for name, keys in several.items():
            print(f"  {name} would be compiled {len(keys)} times:", *sorted(keys), sep="\n    ")
        wrong += len(several)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
