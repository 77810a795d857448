"""The code that measures on a GPU runs on a CPU too, small: so it does not fail first where time is dear."""

import importlib

import pytest

from kernels._bench import Measurement, Roofs, ceilings, main, measure, used_on
from kernels._case import Case, Size
from kernels.decode_attention.cases import CASES as DECODE
from kernels.decode_attention.kernel import Tiling
from kernels.decode_attention.tune import GRID, PER_SM, trials
from tests.kernels.harness import CPU
from tests.kernels.test_cases import OPS

ROOFS = Roofs(1e9, 1e12)
TINY = Size(2, 16)


def small(op: str) -> Case:
    """The last case is that of the small model, where there is one for each model."""
    case: Case = importlib.import_module(f"kernels.{op}.cases").CASES[-1]
    return case


@pytest.mark.parametrize("op", OPS)
def test_a_measurement_is_a_time_and_its_share_of_the_roofline(op: str) -> None:
    """The rates are the bytes and operations that the case says, over that time."""
    case = small(op)
    got = measure(case, CPU, ROOFS, size=TINY, runs=1)
    assert got.name == case.name and case in used_on((case,), CPU)
    assert got.microseconds > 0 and got.gbps > 0
    assert (got.tflops > 0) == (case.flops is not None)
    by_bytes, by_operations = got.gbps * 1e9 / ROOFS.copy, got.tflops * 1e12 / ROOFS.product
    assert got.share_of_roof == pytest.approx(max(by_bytes, by_operations))


def test_a_measurement_is_one_line() -> None:
    """With the rates and the share of the roofline."""
    line = str(Measurement("case", 12.34, 456.7, 8.9, 0.5))
    assert line.split() == ["case", "12.3", "us", "456.7", "GB/s", "8.9", "TFLOP/s", "50.0%", "of", "the", "roofline"]


def test_the_ceilings_are_rates() -> None:
    """Of a copy and of a product, each measured."""
    roofs = ceilings(CPU, copied=1 << 16, side=32)
    assert roofs.copy > 0 and roofs.product > 0


def test_tuning_tries_every_tiling_with_every_number_of_programs() -> None:
    """In the order of the grid; each trial says what it was and how long it took."""
    grid, per_sm = (Tiling(32, 4, 2), Tiling(128, 8, 3)), (1, 3)
    done = list(trials(DECODE[-1], CPU, ROOFS, 2, size=Size(2, 40), runs=1, grid=grid, per_sm=per_sm))
    assert [(trial.tiling, trial.per_sm) for trial in done] == [(tiling, n) for tiling in grid for n in per_sm]
    assert all(trial.measured is not None and trial.measured.microseconds > 0 for trial in done)
    assert str(done[0]).startswith("  32 keys 4 warps 2 stages 1 per SM")
    assert 0 < len(GRID) * len(PER_SM) <= 64, "a grid has an end"


def test_without_a_gpu_a_bench_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And fails, rather than print the figures of a CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(DECODE) == 2
    assert "needs a GPU" in capsys.readouterr().out
