"""A step costs no more work than `budgets.json` says. Work is counted, so that a slow machine changes nothing."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from bench.counted_work import RECORD, SIZES, Table, counted, detokenizer, engine, read
from bench.rigs.still import run
from bench.tally import Tally
from services.detokenizer.decode import Decoder
from services.engine.ledger import Ledger

RENEW = (
    "`python -m bench.counted_work --where <service>` shows what is called. "
    "If more work is meant, `python -m bench.counted_work --renew` writes new budgets."
)
MANY = SIZES[1]
log = logging.getLogger("sluice.work")


def broken(table: Table) -> str:
    """What is above its budget, and what to do about it; "" if nothing is."""
    lines = list(read().broken(table))
    return "\n".join([*lines, RENEW]) if lines else ""


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Makes a method say with what it is called, at a level at which nobody listens."""

    def talk(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def talking(*args: Any) -> Any:
            log.debug("called with %s", repr(args))
            return method(*args)

        monkeypatch.setattr(kind, name, talking)

    return talk


def test_no_step_costs_more_than_its_budget() -> None:
    """Of an engine, a detokenizer and a gateway, at 1, 64 and 256 requests."""
    table = counted()
    assert not (told := broken(table)), told
    assert table.keys() == read().at_most.keys(), f"a counter has gone. {RENEW}"


def test_a_word_for_each_token_an_engine_tells_breaks_its_budget(talkative: Callable[[type, str], None]) -> None:
    """The message names the counter, the count, the budget and the way to renew it. If it comes no more, the budgets
    have become loose."""
    talkative(Ledger, "tell")
    told = broken(_at(MANY, "engine", run(engine(MANY, Tally()))))
    assert "engine: calls per step, at 64: " in told and "and the budget is" in told and "--renew" in told, RENEW


def test_a_word_for_each_token_a_detokenizer_reads_breaks_its_budget(talkative: Callable[[type, str], None]) -> None:
    talkative(Decoder, "push")
    told = broken(_at(MANY, "detokenizer", run(detokenizer(MANY, Tally()))))
    assert f"detokenizer: calls per record of {RECORD} tokens, at 64: " in told, RENEW


def test_the_same_work_is_counted_twice() -> None:
    calls = [run(engine(MANY, Tally()))["calls per step"] for _ in range(2)]
    assert calls[0] == calls[1]


def _at(size: int, service: str, counts: dict[str, float]) -> Table:
    return {f"{service}: {what}": {str(size): count} for what, count in counts.items()}
