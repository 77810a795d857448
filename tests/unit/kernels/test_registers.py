"""Loops have the sizes of the processor's registers; one with half of them computes the same."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from kernels._vectors import REGISTERS

HERE = Path(__file__).parent
WIDER = "AVX512"


def test_a_processor_with_sixteen_registers_computes_the_same() -> None:
    """AVX-512's processors can do all that AVX2's can. Elsewhere the tests beside this one have shown it."""
    if torch.backends.cpu.get_cpu_capability() != WIDER:
        assert REGISTERS == 16
        return
    files = HERE / "test_linear.py", HERE / "test_paged_attention.py"
    some = "bfloat16 or long_rows"
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", some, *map(str, files))
    done = subprocess.run(
        command, env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
