"""How the peer is measured: all of its answers if there is time for them, else the tokens that came."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tools.gpu_check.job import Failed
from tools.gpu_check.sections.peer import measure
from tools.gpu_check.workload import Ask

ASKS = (Ask((1, 2), 3), Ask((3,), 5))


@dataclass
class Output:
    request_id: str
    generated_tokens: list[int]
    error: str | None = None


@dataclass
class Manager:
    """As transformers' own, but its answers are given; what is `kept` comes only after a hard stop."""

    answers: list[Output]
    kept: list[Output] = field(default_factory=list)
    asked: list[tuple[list[int], int]] = field(default_factory=list)
    stopped: bool = False

    def add_request(self, ids: list[int], *, request_id: str, max_new_tokens: int, eos_token_id: int) -> None:
        assert eos_token_id == -1, "nothing may end an answer early"
        self.asked.append((ids, max_new_tokens))

    def is_running(self) -> bool:
        return not self.stopped and bool(self.answers)

    def get_result(self, timeout: float) -> Output | None:
        waiting = self.kept if self.stopped else self.answers
        return waiting.pop(0) if waiting else None

    def stop(self, *, block: bool, timeout: float, hard_stop: bool) -> None:
        self.stopped = True


class Older(Manager):
    """A version that cannot be stopped in the middle."""

    def stop(self, *, block: bool, timeout: float) -> None:  # type: ignore[override]  # as older versions have it
        raise AssertionError("it would wait for all answers")


@pytest.fixture
def whole() -> Iterator[list[Output]]:
    yield [Output("1", [0] * 5), Output("0", [0] * 3)]


def test_each_request_is_asked_for_its_own_length(whole: list[Output]) -> None:
    manager = Manager(whole)
    tokens, seconds, finished = measure(manager, ASKS, 60.0)
    assert manager.asked == [([1, 2], 3), ([3], 5)]
    assert (tokens, finished) == (8, 2) and seconds > 0
    assert not manager.stopped


def test_what_did_not_finish_counts_with_the_tokens_it_has() -> None:
    """Two of five tokens were there when time was up."""
    manager = Manager([Output("0", [0] * 3)], [Output("1", [0] * 2, "stopped")])
    tokens, _, finished = measure(manager, ASKS, 60.0)
    assert (tokens, finished) == (5, 1)


def test_a_version_that_gives_nothing_back_is_measured_by_what_finished() -> None:
    tokens, _, finished = measure(Older([Output("0", [0] * 3)]), ASKS, 60.0)
    assert (tokens, finished) == (3, 1)


def test_no_time_is_no_answer() -> None:
    assert measure(Manager([Output("0", [0] * 3)]), ASKS, -1.0)[2] == 0


def test_an_answer_that_failed_or_is_too_short_is_no_figure() -> None:
    """A peer that does less is not faster."""
    with pytest.raises(Failed, match="out of memory"):
        measure(Manager([Output("0", [], "out of memory")]), ASKS, 60.0)
    with pytest.raises(Failed, match="7 tokens, 8 were asked for"):
        measure(Manager([Output("0", [0] * 3), Output("1", [0] * 4)]), ASKS, 60.0)
