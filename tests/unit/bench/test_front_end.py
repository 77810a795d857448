"""What the load test says of what it has counted; the counting is the generator's and the processes' own."""

import argparse
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bench import clock_model, front_end, front_end_picture
from bench.front_end_run import Layout, Point
from bench.swarm import Heard, Spread, heard
from services.engine.config import EngineConfig
from services.engine.worker.sim import open_sim

COUNTED = Heard(
    seconds=2.0,
    cpu_seconds=0.1,
    open=256,
    failures=0,
    failure="",
    events=11_000,
    frames=10_000,
    tokens=40_000,
    bytes=2_000_000,
    answers=150,
    ttft_ms=Spread(),
    age_ms=Spread(count=40_000, p50=3.25, p90=5.0, p99=12.5, max=20.0),
)
CPU = {"exporters": 0.0, "gateway": 1.2, "detokenizer": 0.6, "redis": 0.2, "engine": 0.4}


def point(layout: Layout, clients: int, load: int) -> Point:
    return Point(layout, clients, load, 20_000.0, COUNTED, CPU)


POINTS = [point(Layout(1, 1), clients, load) for clients in (256, 1024) for load in (0, 25, 90)]


def test_the_engines_time_is_no_part_of_the_front_ends() -> None:
    """Gateway, detokenizer and Redis together took two seconds for 40,000 tokens, four to a frame."""
    one = POINTS[0]
    assert one.per_core == pytest.approx(20_000) and (one.rate, one.frames_per_token) == (20_000, 0.25)
    assert one.microseconds("gateway") == pytest.approx(30) and one.microseconds("engine") == pytest.approx(10)


def test_columns_stand_under_their_names() -> None:
    """Each line is as long as the head; what was not counted is a dash and no zero."""
    head, names, *lines, cores = "\n".join(front_end.table(POINTS)).splitlines()
    assert {len(line) for line in lines} == {len(names)} and len(head) < len(names)
    fields = dict(zip(names.split(), lines[1].replace(" %", "%").split(), strict=True))
    assert (fields["g/d"], fields["clients"], fields["load"], fields["wall"]) == ("1/1", "256", "25%", "20,000")
    assert lines[0].split()[2] == "all" and lines[0].split().count("-") == 2
    assert cores.endswith("of which the clients took 0.05")


def test_the_document_holds_what_was_derived_too() -> None:
    """And the machine and the load, as figures mean little without them."""
    args = front_end.arguments(["--tokens", "64"])
    document = front_end.document(POINTS[:1], args)
    assert document["load"] == {"tokens": 64, "warm_up_s": 2.0, "seconds": 3.0}
    [row] = document["points"]
    assert row["per_core"] == pytest.approx(20_000) and row["layout"] == {"gateways": 1, "detokenizers": 1}


def test_quick_is_another_default() -> None:
    """What is given counts in both."""
    usual, quick = front_end.arguments([]), front_end.arguments(["--quick", "--loads", "10"])
    assert [str(layout) for layout in usual.sets] == ["1/1", "2/1", "2/2"] and usual.clients == [256, 1024]
    assert [str(layout) for layout in quick.sets] == ["1/1"] and quick.loads == [10]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--sets", "2"), ("--sets", "1/0"), ("--sets", "a/b"), ("--clients", "0"), ("--loads", "x"), ("--seconds", "0")],
)
def test_a_flag_that_makes_no_sense_is_named(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """argparse says which, and what it must be."""
    with pytest.raises(SystemExit):
        front_end.arguments([flag, value])
    assert f"argument {flag}: must be" in capsys.readouterr().err


def test_both_pictures_are_drawn(tmp_path: Path) -> None:
    """Also of one load alone."""
    for points in (POINTS, POINTS[:1]):
        drawn = list(front_end_picture.draw(points, tmp_path / "new"))
        assert [path.name for path in drawn] == [front_end_picture.RATES, front_end_picture.AGES]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_the_generators_line_becomes_what_was_heard() -> None:
    """A spread of nothing has its count alone."""
    told = {name: getattr(COUNTED, name) for name in Heard.__slots__}
    spread = {"count": 40_000, "p50": 3.25, "p90": 5.0, "p99": 12.5, "max": 20.0}
    assert heard(told | {"ttft_ms": {"count": 0}, "age_ms": spread}) == COUNTED


def test_the_clocks_model_draws_its_numbers_and_reads_them_back(tmp_path: Path) -> None:
    """Every word is one token, in a prompt as in an answer, and the engine takes the folder as it is."""
    folder = clock_model.build(tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode(" 00000 00017 65535").ids == [0, 17, 65535]
    assert tokenizer.decode([17, 65535]) == " 00017 65535"
    worker = open_sim(EngineConfig(device="sim", sim_words="clock", max_num_seqs=1024), folder)
    assert worker.vocab_size == clock_model.WORDS + 1 and worker.num_blocks > 1024 * 20


def test_numbers_are_whole_and_above_zero() -> None:
    assert front_end.numbers("1,20") == [1, 20]
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        front_end.numbers("1,-2")
