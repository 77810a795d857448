"""What both systems are asked for when they are asked for the same."""

import pytest

from bench.vs_vllm.load import Figures, Load
from bench.vs_vllm.rounds import Case, Round, rate_of_both, shown
from bench.vs_vllm.systems import PEER, SLUICE


def case(clients: int, fault: str = "", **seconds: float) -> Case:
    """100 requests, answered in so many seconds."""
    names = {"sluice": SLUICE, "peer": PEER}
    rounds = {names[name]: [_round(took, fault), _round(2 * took, fault)] for name, took in seconds.items()}
    return Case(Load(100, clients, 128, 128), rounds)


def _round(seconds: float, fault: str) -> Round:
    return Round(Figures(100, 12800, seconds, 12800 / seconds, 1.0, 20.0, 30.0, 5.0, 5.0, 9.0), {}, fault)


def test_the_slower_system_at_its_best_says_how_much_both_can_answer() -> None:
    cases = [case(1, sluice=50.0, peer=100.0), case(64, sluice=10.0, peer=20.0), case(16, sluice=12.0, peer=25.0)]
    assert rate_of_both(cases) == pytest.approx(5.0)
    assert rate_of_both([*cases, case(8, "of 100 requests 7", sluice=0.1, peer=0.1)]) == pytest.approx(5.0)
    assert rate_of_both([case(1, "of 100 requests 7", sluice=0.1, peer=0.1)]) == 0.0


def test_a_load_is_told_in_a_word_or_two() -> None:
    told = [shown(Load(9, clients, 128, 128, rate)) for clients, rate in ((1, None), (16, None), (0, 4.8172))]
    assert told == ["1 client", "16 clients", "4.82 requests/s"]
