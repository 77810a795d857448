"""Medians, ratios and their range, of the rounds that count; the table and the picture that come of them."""

from dataclasses import replace
from pathlib import Path

from bench.vs_vllm.chart import draw
from bench.vs_vllm.load import Figures, Load
from bench.vs_vllm.report import FIGURES, Pair, document, machine, pair, table, times
from bench.vs_vllm.rounds import Case, Compared, Footprint, Round, Settings, shown
from bench.vs_vllm.systems import PEER, SLUICE

LOAD = Load(requests=64, clients=16, tokens_in=128, tokens_out=128)
SPEED = FIGURES["output tokens / s"][1]
SETTINGS = Settings(None, None, "", (), 3, 12.0, (LOAD,))


def one(tokens_per_s: float, fault: str = "") -> Round:
    figures = Figures(64, 8192, 4.0, tokens_per_s, 0.99, 100.0, 200.0, 6.0, 5.0, 20.0)
    return Round(figures, {"engine": 0.5, "gateway": 0.1}, fault)


def case(ours: list[Round], theirs: list[Round]) -> Case:
    return Case(LOAD, {SLUICE: ours, PEER: theirs} if theirs else {SLUICE: ours})


def compared(of: Case) -> dict[str, Compared]:
    return {"6m": Compared({name: Footprint("", 3.0, 0.01, 2**30) for name in of.rounds}, [of])}


def test_the_ratio_is_of_medians_and_the_range_of_neighbours() -> None:
    """A round is compared with the one beside it in time for the range, and the middle ones for the ratio."""
    found = pair(case([one(100), one(400), one(150)], [one(100), one(200), one(300)]), SPEED)
    assert found == Pair(150, 200, (0.5, 2.0))
    assert found.ratio == 0.75


def test_a_round_that_does_not_count_is_in_no_figure() -> None:
    of = case([one(100), one(1, "1 of 64 requests"), one(120)], [one(100), one(100), one(200)])
    assert pair(of, SPEED) == Pair(110, 100, (0.6, 1.0))
    assert any("Sluice: 1 of 3 rounds DO NOT COUNT" in line for line in table(compared(of)))


def test_where_no_round_counts_there_is_no_figure() -> None:
    of = case([one(1, "fault")], [one(100)])
    assert pair(of, SPEED) == Pair(None, 100, None)
    assert pair(of, SPEED).ratio is None
    assert list(table(compared(of)))


def test_sluice_alone_is_compared_with_nobody() -> None:
    of = case([one(100), one(110)], [])
    assert pair(of, SPEED) == Pair(105, None, None)
    lines = list(table(compared(of)))
    assert any(line.split() == ["output", "tokens", "/", "s", "105", "-", "-"] for line in lines)


def test_columns_stand_below_their_headings() -> None:
    """Also where a ratio says nothing, as the other figure is next to nothing."""
    heading, *lines = table(compared(case([one(3000)], [one(1)])))
    line = next(line for line in lines if "output tokens" in line)
    assert line.index("3,000") + len("3,000") == heading.index(SLUICE) + len(SLUICE)
    assert times(3000) == ">99" and ">99" in line and times(0.5) == "0.50"


def test_all_rounds_are_in_the_document_and_no_path_is(tmp_path: Path) -> None:
    """The JSON says on what machine and commit it was; the picture is drawn from the same."""
    models = compared(case([one(100), one(1, "fault")], [one(100), one(100)]))
    told = document(models, replace(SETTINGS, tool=tmp_path / "tool"))
    assert str(tmp_path) not in str(told)
    assert machine().keys() >= {"processor", "cores", "torch", "date", "commit"} and "machine" in told
    draw(models, told, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_load_is_named_by_what_limits_it() -> None:
    assert [shown(load) for load in (LOAD, replace(LOAD, clients=1))] == ["16 clients", "1 client"]
    assert shown(replace(LOAD, rate=2.5)) == "2.5 requests/s"
