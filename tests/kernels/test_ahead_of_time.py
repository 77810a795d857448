"""What the check ahead of time says of the kernels, and that it would say if something were wrong."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tools.kernels_check import cache
from tools.kernels_check.__main__ import SHARED, all_ops, faults
from tools.kernels_check.compile import Compiled

ROOT = Path(__file__).resolve().parents[2]
FINE = Compiled("case", "kernel", warps=4, registers=255, spilled=0, stack=0, shared=SHARED["sm_90"], moved=1)
SPILLING = """
import triton, triton.language as tl
from kernels._case import Case
@triton.jit
def _spills(y_ptr, x_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, x - tl.max(x, axis=0))
def launch(x):
    _spills[(1,)](x, x, N=4096, num_warps=1, maxnreg=64, enable_fp_fusion=True)
    return (x,)
CASES = (Case("bad", launch, launch, lambda size, source: {"x": source.normal(4096)}, lambda a: 1),)
"""


SPECIALISED = """
import triton, triton.language as tl
from kernels._case import Case
@triton.jit(FIXED)
def _counts(x, n):
    tl.store(x, n)
def launch(x):
    _counts[(1,)](x, len(x), num_warps=1, enable_fp_fusion=True)
    return (x,)
CASES = (Case("bad", launch, launch, lambda size, source: {"x": source.integers(0, 9, size.rows)}, lambda a: 1),)
"""


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=500)


def test_every_kernel_compiles_for_sm_90_without_a_spill() -> None:
    """In every configuration that is used, with the Triton that is installed; results are kept by source hash."""
    done = check("-m", "tools.kernels_check", "--arch", "sm_90")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 launches at fault" in done.stdout
    assert all(f"\n{op}" in done.stdout for op in all_ops())


@pytest.mark.parametrize("wrong", [{"spilled": 8}, {"stack": 16}, {"shared": SHARED["sm_90"] + 1}], ids=str)
def test_a_spill_or_too_much_shared_memory_is_a_fault(wrong: dict[str, Any]) -> None:
    """Either of them makes the command fail."""
    assert not faults(FINE, "sm_90")
    assert len(faults(replace(FINE, **wrong), "sm_90")) == 1
    assert faults(FINE, "sm_80"), "sm_80 has less shared memory"


def test_a_kernel_that_spills_is_seen(tmp_path: Path) -> None:
    """128 numbers of each thread cannot stay in 64 registers: what ptxas says of it is read."""
    (tmp_path / "bad.py").write_text(SPILLING)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import bad; from tools.kernels_check.compile import *\n"
        "print(*(row.spilled for row in compile_cases(bad.CASES, 90)))"
    )
    done = check("-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_no_step_of_a_running_server_waits_for_the_compiler() -> None:
    """Other numbers of rows, of tokens and of ids, and lists that lie elsewhere in memory, find what is compiled."""
    done = check("-m", "tools.kernels_check.specialised")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == all_ops()


@pytest.mark.parametrize("fixed, times", [("", 6), ('do_not_specialize=["n"]', 2), ('do_not_specialize=["n", "x"]', 1)])
def test_a_kernel_that_would_be_compiled_again_is_seen(tmp_path: Path, fixed: str, times: int) -> None:
    """For a count that is 1, a multiple of 16, or neither; for a list that begins at a multiple of 16 bytes or not."""
    (tmp_path / "bad.py").write_text(SPECIALISED.replace("FIXED", fixed))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import bad; from tools.kernels_check.specialised import *\n"
        "print(*map(len, compiles(bad.CASES[0]).values()))"
    )
    done = check("-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == times


def test_results_are_kept_until_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is found again; another architecture or another source is not known."""
    assert cache.load(tmp_path, "silu_mul", "sm_90") is None
    cache.store(tmp_path, "silu_mul", "sm_90", [asdict(FINE)])
    assert cache.load(tmp_path, "silu_mul", "sm_90") == [FINE]
    assert cache.load(tmp_path, "silu_mul", "sm_80") is None
    (tmp_path / "kernels" / "silu_mul").mkdir(parents=True)
    (tmp_path / "kernels" / "silu_mul" / "kernel.py").write_text("other")
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    assert cache.load(tmp_path, "silu_mul", "sm_90") is None
