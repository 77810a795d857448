"""What a section calls wrong, what a stand-in for a card says, what is counted as idle."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kernels._case import Case, Size
from tools.gpu_check.__main__ import parse, settings
from tools.gpu_check.card import HostCard, open_card
from tools.gpu_check.engine import Step, Watch
from tools.gpu_check.sections import SECTIONS, TOTAL_S
from tools.gpu_check.sections.accuracy import compare, error
from tools.gpu_check.sections.peer import accepted
from tools.gpu_check.settings import MODELS, Settings

CPU = torch.device("cpu")


def case(launch: Any) -> Case:
    def reference(x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2,)

    return Case("doubles", launch, reference, lambda size, source: {"x": source.normal(size.rows, 8)}, lambda a: 1)


def unwritten(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    y[-1] = float("nan")
    return (y,)


def one_wrong(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    y[0, 0] += 0.01
    return (y,)


def test_a_kernel_that_doubles_agrees_with_doubling() -> None:
    figures = compare(case(lambda x: (x * 2,)), Size(500, 1), CPU)
    assert figures["agrees"] and figures["largest error"] == 0.0


@pytest.mark.parametrize("wrong", [unwritten, one_wrong, lambda x: (x * 2.0001,)], ids=["nan", "one", "all"])
def test_a_kernel_that_is_a_little_wrong_does_not_agree(wrong: Any) -> None:
    """One element that was never written, one that is off, all by a ten-thousandth."""
    assert not compare(case(wrong), Size(500, 1), CPU)["agrees"]


def test_whole_numbers_must_be_equal() -> None:
    a = torch.arange(10)
    assert error(a, a.double()) == (0.0, 0.0, True)
    b = a.clone()
    b[3] = 0
    assert error(b, a.double()) == (0.1, 0.1, False)


def test_what_is_masked_out_in_both_is_no_error() -> None:
    """Minus infinity stands for a token that cannot be drawn; where only one of the two has it, that is wrong."""
    a = torch.tensor([1.0, -torch.inf, 2.0])
    assert error(a, a.double())[2]
    assert not error(torch.tensor([1.0, -torch.inf, -torch.inf]), a.double())[2]


def test_the_stand_in_has_a_clock_a_memory_and_a_profile() -> None:
    """The longest first, and nothing that took no time."""
    card = HostCard()
    assert card.seconds(lambda: None, 3) >= 0.0
    assert card.memory() > 0.0
    assert set(card.describe()) == {"name", "driver", "compute capability", "SMs", "GiB"}
    seen = card.profile()
    seen.start()
    x = torch.randn(64, 64)
    torch.mm(x, x)
    seen.stop()
    kernels = card.kernels(seen)
    assert "aten::mm" in [kernel.name for kernel in kernels]
    assert [k.microseconds for k in kernels] == sorted((k.microseconds for k in kernels), reverse=True)


def test_without_a_card_only_a_dry_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert open_card(dry=True).kind == "cpu"
    with pytest.raises(RuntimeError, match="--dry-run"):
        open_card(dry=False)


class Clock:
    """A worker that says only how long its device was busy."""

    def __init__(self) -> None:
        self.busy, self.idle = 0.0, 0.0

    def statistics(self) -> dict[str, float]:
        return {"busy_seconds": self.busy, "idle_seconds": self.idle}


def test_idle_is_counted_from_the_first_step_without_prefill_and_apart_in_the_tail() -> None:
    """Before it the device may wait as long as it likes; a prefill in between begins the count anew."""
    clock, counted = Clock(), list[int]()
    watch = Watch(clock, 10, counted.append)  # type: ignore[arg-type]  # it asks for statistics only
    steps = [(20, False, 1.0, 5.0), (20, True, 1.0, 5.0), (20, False, 1.0, 5.0), (20, True, 1.0, 5.0)]
    steps += [(20, True, 0.9, 0.1), (20, True, 0.9, 0.1), (9, True, 0.5, 0.5)]
    for rows, decode, busy, idle in steps:
        watch.steps.append(Step(0.001, 0.002, rows, decode, 100))
        clock.busy, clock.idle = clock.busy + busy, clock.idle + idle
        watch.ended([])
    assert watch.steady_idle == pytest.approx(0.1)
    assert watch.tail_idle == pytest.approx(0.5)
    assert counted == [1, 1, 2, 3, 4]
    assert watch.steady().steps == 5 and watch.steady().both_ms == pytest.approx(3.0)


def test_a_version_of_the_peer_that_knows_less_is_told_less() -> None:
    def older(x: int, y: int = 2) -> tuple[int, int]:
        return x, y

    assert accepted(older, x=1, z=3) == (1, 2)


def test_flags_are_checked_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the flag and what it may be."""
    for wrong in (["--sections", "speed,x"], ["--models", "tiny"], ["--requests", "0"], ["--dry-run", "--models", "y"]):
        with pytest.raises(SystemExit):
            parse(wrong)
        assert wrong[-2] in capsys.readouterr().err


def test_flags_reach_the_sections() -> None:
    told = settings(parse(["--models", "qwen3-14b,qwen3-0.6b", "--requests", "9", "--gateways", "3"]))
    assert (told.models, told.requests, told.gateways) == (("qwen3-14b", "qwen3-0.6b"), 9, 3)
    assert Settings.parse(told.text()) == told
    assert settings(parse([])).models == MODELS


def test_all_sections_end_in_under_eight_minutes() -> None:
    assert TOTAL_S < 480
    assert all(section.budget_s <= TOTAL_S for section in SECTIONS)
