"""What each bench writes becomes rows; the benches' own writers make what is read here."""

import argparse
from dataclasses import asdict

from bench import counted_work, figures, front_end, planning, tracing
from bench.figures import Row
from bench.front_end_run import Layout, Point
from bench.growth.__main__ import document as growth_document
from bench.growth.series import Sweep
from bench.swarm import Heard, Spread
from bench.vs_vllm import report
from bench.vs_vllm.load import Figures, Load
from bench.vs_vllm.rounds import Case, Compared, Footprint, Round, Settings
from bench.vs_vllm.systems import PEER, SLUICE

SIZES = (1, 10, 100)
CLIENTS = Load(16, 16, 128, 128)


def a_round(speed: float, cpu: dict[str, float], fault: str = "") -> Round:
    return Round(Figures(16, 256, 1.0, speed, 1.0, 20.0, 30.0, 5.0, 5.0, 9.0), cpu, fault)


def versus(rounds: dict[str, list[Round]], load: Load = CLIENTS) -> list[Row]:
    footprints = {name: Footprint("", 2.0, 0.01, 3 * 2**20) for name in rounds}
    settings = Settings(None, None, "", (), len(rounds[SLUICE]), 1.0, [load])
    return list(figures.vs_vllm(report.document({"6m": Compared(footprints, [Case(load, rounds)])}, settings)))


def found(rows: list[Row], figure: str) -> Row:
    (row,) = [row for row in rows if row.figure == figure]
    return row


def test_a_peer_stands_beside_each_figure() -> None:
    ours = [a_round(speed, {"engine": 0.5, "gateway": 0.1}) for speed in (90.0, 100.0, 110.0)]
    rows = versus({SLUICE: ours, PEER: [a_round(50.0, {"API server": 0.4})] * 3})
    output = found(rows, "output")
    assert (output.value, output.unit, output.peer, output.ratio) == (100.0, "tokens/s", 50.0, 2.0)
    assert output.section == "vs vLLM, 6m, 16 clients"
    assert found(rows, "resident after load (PSS)") == Row("vs vLLM, 6m", "resident after load (PSS)", 3.0, "MiB", 3.0)
    assert found(rows, "CPU, Sluice's gateway").value == 0.1
    assert found(rows, "CPU, vLLM's API server").value == 0.4


def test_the_same_rate_for_both_is_a_section_of_its_own() -> None:
    rows = versus({SLUICE: [a_round(90.0, {"engine": 0.5})]}, Load(16, 0, 128, 128, 7.25))
    assert found(rows, "output").section == "vs vLLM, 6m, 7.25 requests/s"


def test_without_a_peer_there_is_nothing_to_compare() -> None:
    rows = versus({SLUICE: [a_round(90.0, {"engine": 0.5})]})
    assert rows and all(row.peer is None and row.ratio is None for row in rows)


def test_rounds_that_do_not_count_are_said_and_not_read() -> None:
    rows = versus({SLUICE: [a_round(90.0, {"engine": 0.5}), a_round(1.0, {"engine": 9.0}, "15 of 16 requests")]})
    assert found(rows, "output").value == 90.0
    assert found(rows, "CPU, Sluice's engine").value == 0.5
    assert found(rows, "Sluice's rounds that do not count").value == 1
    none = versus({SLUICE: [a_round(1.0, {"engine": 9.0}, "0 of 16 requests")]})
    assert "output" not in {row.figure for row in none}


def test_the_front_end_has_a_rate_and_the_latency_at_each_load() -> None:
    age = Spread(100, 2.0, 3.0, 4.0, 5.0)
    heard = Heard(2.0, 0.1, 256, 0, "", 500, 500, 1000, 9999, 8, Spread(), age)
    cpu = {"gateway": 0.5, "detokenizer": 0.3, "redis": 0.2, "engine": 0.7}
    points = [Point(Layout(1, 1), 256, load, 1e6, heard, cpu) for load in (50, 0)]
    rows = list(figures.front_end(front_end.document(points, argparse.Namespace(tokens=1, warm_up=1, seconds=1))))
    assert {row.section for row in rows} == {"front end, 1/1, 256 clients"}
    assert rows[0] == Row(rows[0].section, "highest rate", 500.0, "tokens/s")
    assert found(rows, "highest rate of a core").value == 1000.0
    assert found(rows, "CPU, detokenizer").value == 300.0
    assert rows[-1] == Row(rows[0].section, "added latency at 50 %, p99", 4.0, "ms")


def test_growth_says_its_word_and_where_it_should_be_another() -> None:
    lines = {"even": [1.0] * 3, "steep": [float(size) for size in SIZES]}
    even, steep = figures.growth(growth_document([Sweep("clients", "", "flat", SIZES, lines)]))
    assert (even.value, even.unit) == (0.0, "slope, flat")
    assert (steep.figure, steep.unit) == ("clients: steep", "slope, linear, NOT flat")


def test_of_a_counter_the_fullest_budget_is_said() -> None:
    counts = {"engine: calls": {"1": 10.0, "64": 95.0}}
    budgets = counted_work.Budgets(counted_work.PYTHON, {"engine: calls": {"1": 20.0, "64": 100.0}})
    (row,) = figures.counted_work(counted_work.document(counts, budgets))
    assert row == Row("counted work", "engine: calls", 95.0, "% of its budget, at 64")


def test_planning_says_each_case_and_the_most_that_is_sent() -> None:
    cases = [planning.Case(16, waiting, 0.5, 0.6, 0.2, 0.3, 0.2, 4100, 6200 + waiting) for waiting in (0, 9)]
    rows = list(figures.planning({"rows": 256, "cases": [asdict(case) for case in cases]}))
    assert [row.value for row in rows] == [0.5, 0.5, 6209]


def test_tracing_is_compared_by_neighbours() -> None:
    rounds = {
        tracing.OFF: [tracing.Round(100.0, {"gateway": 0.1, "engine": 0.1}), tracing.Round(50.0, {"gateway": 0.2})],
        tracing.ON: [tracing.Round(90.0, {"gateway": 0.2, "engine": 0.1}), tracing.Round(50.0, {"gateway": 0.2})],
    }
    throughput, cpu = figures.tracing(tracing.document(rounds))
    assert (throughput.value, throughput.unit) == (0.95, "of 2: 0.90 to 1.00")
    assert cpu.value == 1.25


def test_the_ablation_ends_with_the_old_way_and_the_new_one() -> None:
    median = {"busy_share": 0.9, "loop_cpu_ms_per_step": {"plan": 0.5, "submit": 0.25}, "bytes_per_step": 2048}
    names = {"scheduling": "sync", "state": "stateless", "detokenizer": "inline"}
    way = names | {"against_old": 1.0, "median": median}
    rows = list(figures.ablation({"ways": [way, way]}))
    assert rows[0].figure == "sync, stateless, inline"
    assert [row.value for row in rows[-3:]] == [90.0, 0.75, 2.0]
