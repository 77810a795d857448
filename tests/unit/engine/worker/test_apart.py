"""An engine that is no rank itself: when it is one, what it tells the ranks, and whom an answer belongs to."""

import ctypes
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.engine.config import EngineConfig
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.answers import Listener, Speaker
from services.engine.worker.apart import RemoteRunner, is_apart
from services.engine.worker.flight import Flight
from services.engine.worker.masks import Masks
from services.engine.worker.pack import Packed, Packer
from services.engine.worker.ranks import BroadcastMasks, RankProcesses, receive
from services.engine.worker.sizes import Sizes
from shared.errors import ConfigError
from shared.types import SamplingParams


@pytest.mark.parametrize(
    ("device", "worker", "driver", "apart"),
    [
        ("cpu", "auto", True, True),
        ("auto", "auto", False, True),
        ("auto", "auto", True, False),  # there may be a card: torch has the last word
        ("cuda", "auto", True, False),
        ("cpu", "thread", False, False),
        ("auto", "process", True, True),
    ],
)
def test_steps_are_apart_on_a_cpu(
    device: Any, worker: Any, driver: bool, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        if not driver:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert is_apart(EngineConfig(device=device, worker=worker)) is apart


@pytest.mark.parametrize("device", ("cuda", "sim"))
def test_a_process_is_for_a_cpu(device: Any) -> None:
    with pytest.raises(ConfigError, match=f"--worker process is for CPUs, not for --device {device}"):
        EngineConfig(device=device, worker="process")


@pytest.fixture
def line() -> Any:
    engine, rank = socket.socketpair()
    messages = receive(engine)
    with engine, rank:
        yield Speaker(rank), Listener(lambda: next(messages))


def test_an_opening_is_told_to_its_end(line: tuple[Speaker, Listener]) -> None:
    """Progress first, then sizes and blocks."""
    speaker, listener = line
    heard: list[tuple[str, float | None]] = []
    speaker.progress("loading", 0.5)
    speaker.opened(Sizes(rows=4, tokens=64, max_model_len=128, block_size=16), 99)
    assert listener.opened(lambda *told: heard.append(told)) == (Sizes(4, 64, 128, 16), 99)
    assert heard == [("loading", 0.5)]


def test_what_a_rank_refuses_is_an_error_of_the_configuration(line: tuple[Speaker, Listener]) -> None:
    speaker, listener = line
    speaker.refuse("--kv-blocks 1: too few")
    with pytest.raises(ConfigError, match=r"^--kv-blocks 1: too few$"):
        listener.opened(lambda message, share: None)


def test_who_waits_for_a_later_step_keeps_the_earlier_ones(line: tuple[Speaker, Listener]) -> None:
    """The lane of masks may ask before the lane that waits for every step."""
    speaker, listener = line
    for step in range(3):
        speaker.step(10 * step, 10 * step + 5, [step] * step)
    assert [listener.step(number) for number in (1, 0, 2)] == [(10, 15, [1]), (0, 5, []), (20, 25, [2, 2])]


class Made:
    """Masks that are all ones, made when they are asked for. See `masks.Source`."""

    def __init__(self, said: list[bytes]) -> None:
        self._said = said
        self.followed: list[Flight] = []

    def begin(self, packed: Packed) -> Callable[[], Masks]:
        return lambda: Masks(np.full((packed.masked, 2), -1, np.int32), ((0, "too complex"),))

    def follow(self, packed: Packed, flight: Flight) -> None:
        self.followed.append(flight)

    def close(self) -> None:
        self._said.append(b"closed")


class Ears(RankProcesses):
    """Ranks that only listen."""

    def __init__(self, said: list[bytes]) -> None:
        self._said = said

    def send(self, block: memoryview) -> None:
        self._said.append(bytes(block))

    def close(self) -> None:
        self._said.append(b"ended")


def test_masks_go_behind_their_step_and_faults_come_with_its_ids() -> None:
    """A row without a grammar brings its block alone. The matchers follow every step that draws for them."""
    said: list[bytes] = []
    ranks, masks, packer = Ears(said), Made(said), Packer(4, 64)
    answers = iter([bytearray(16) + np.array([step], np.int32).tobytes() for step in range(2)])
    runner = RemoteRunner(ranks, BroadcastMasks(masks, ranks), Listener(lambda: next(answers)))
    for step, grammar in enumerate(("", "{}")):
        add = RowAdd(step, (1, 2), 2, (0,), SamplingParams(max_tokens=2, temperature=0.0, grammar=grammar))
        packed = packer.pack(StepPlan(step, (), (add,), (), (RowWork(step, 0, 2, True),)))
        flight, block = runner.launch(packed), packed.buffer.tobytes()
        assert said == ([block] if not grammar else [block, b"\xff" * 8])
        assert flight.faults == (((0, "too complex"),) if grammar else ())
        assert flight.wait() == [step]
        assert masks.followed == ([flight] if grammar else [])
        said.clear()
    runner.close()
    assert said == [b"closed", b"ended"]
