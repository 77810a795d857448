"""A small step leaves a core to others, a large one takes all; who asks for a number gets it."""

import os

import pytest
import torch

from services.engine.worker.threads import LARGE, Threads


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    told: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    return told


def test_large_steps_take_every_core(four_cores: list[int]) -> None:
    """torch is told only when the number changes."""
    threads = Threads(0, LARGE // 20)
    for tokens in (1, 9, 10, 500, 1):
        threads.set_for(tokens)
    assert four_cores == [3, 4, 3]
    assert threads.few == 3


def test_a_number_that_is_asked_for_holds_for_every_step(four_cores: list[int]) -> None:
    threads = Threads(2, LARGE)
    threads.set_for(1)
    threads.set_for(1000)
    assert four_cores == [2]


def test_ranks_share_the_cores(four_cores: list[int]) -> None:
    threads = Threads(0, LARGE, ranks=2)
    threads.set_for(1)
    assert four_cores == [2]
    assert threads.few == 1
