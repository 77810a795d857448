"""Parts that end well, fail, or leave nothing behind; and the one table of all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.figures import Row, Told
from bench.parts import PARTS, Outcome, Part, collected, ran
from bench.table import shown, table


def read(told: Told) -> Iterator[Row]:
    yield Row("section", "figure", told["value"], "ms")


def part(flags: str = "", *, name: str = "nothing") -> Part:
    return Part(name=name, flags=flags, minutes=3, quick_minutes=1, file="told.json", read=read, paired=True)


def test_what_a_part_has_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"value": 2}')
    assert collected(part(), 0, tmp_path / "told.json") == Outcome("nothing", [Row("section", "figure", 2, "ms")], "")


def test_a_part_that_failed_keeps_its_figures(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"value": 2}')
    outcome = collected(part(), 1, tmp_path / "told.json")
    assert outcome.rows and outcome.fault == "exit status 1"


@pytest.mark.parametrize(("status", "fault"), [(0, "exit status 0, but no told.json"), (3, "exit status 3")])
def test_a_part_that_wrote_nothing_is_named(tmp_path: Path, status: int, fault: str) -> None:
    assert collected(part(), status, tmp_path / "told.json") == Outcome("nothing", [], fault)


@pytest.mark.parametrize("text", ["{}", "{", "[]"])
def test_figures_in_another_form_are_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "told.json").write_text(text)
    outcome = collected(part(), 0, tmp_path / "told.json")
    assert not outcome.rows and outcome.fault.startswith("exit status 0, and told.json cannot be read")


def test_figures_of_an_earlier_run_are_not_told_again(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"value": 2}')
    outcome = ran(part(name="no_such_bench"), tmp_path, quick=False)
    assert outcome == Outcome("no_such_bench", [], "exit status 1")


def test_a_folder_with_a_blank_is_one_argument() -> None:
    assert part("--out {out}/a.json").command(Path("/a folder"), quick=True)[-2:] == ["--out", "/a folder/a.json"]


def test_only_what_a_peer_takes_part_in_takes_longer_with_one() -> None:
    assert [part().about(quick=quick, peer=peer) for quick in (True, False) for peer in (True, False)] == [2, 1, 6, 3]


def test_the_promises_of_the_help_hold_by_its_own_figures() -> None:
    assert sum(one.about(quick=True, peer=False) for one in PARTS) < 6
    assert sum(one.about(quick=False, peer=True) for one in PARTS) <= 35


def test_columns_are_aligned_and_a_section_is_named_once() -> None:
    rows = [
        Row("first", "a figure", 1234.5, "tokens/s", 1000.0),
        Row("first", "b", 0.5, "ms"),
        Row("second", "c", 1, ""),
    ]
    head, _, a, b, _, c = table([Outcome("x", rows, "")])
    assert a.split() == ["first", "a", "figure", "1,234", "tokens/s", "1,000", "1.23"]
    assert b.split() == ["b", "0.50", "ms"] and c.split() == ["second", "c", "1"]
    assert head.index("unit") == a.index("tokens/s") == b.index("ms")


def test_the_last_lines_name_what_failed() -> None:
    *_, last = table([Outcome("x", [], "exit status 7"), Outcome("y", [Row("s", "f", 1, "ms")], "")])
    assert last == "FAILED: x: exit status 7"


@pytest.mark.parametrize(("fault", "status"), [("", 0), ("exit status 7", 1)])
def test_every_part_runs_whatever_became_of_others(
    fault: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ran", lambda part, out, quick: Outcome(part.name, [], fault))
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(tmp_path), "--only", "growth", "planning"])
    assert command.main() == status
    told = capsys.readouterr()
    assert "1 of 2: growth, about 3 minutes" in told.err and "2 of 2: planning" in told.err
    assert told.out.count("FAILED") == 2 * status


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (45.67, "45.7"), (0.456, "0.46"), (0.0123, "0.012"), (-0.3, "-0.30"), (0.0, "0"), (7, "7")],
)
def test_numbers_have_the_digits_that_say_something(value: float, text: str) -> None:
    assert shown(value) == text
