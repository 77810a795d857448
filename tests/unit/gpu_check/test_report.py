"""What is found is written as it comes, and the goals are judged by it."""

import json
from pathlib import Path

from tools.gpu_check.report import Report, Row
from tools.gpu_check.verdict import goals, verdicts

ABOUT = {"command": "python -m tools.gpu_check", "date": "2026-11-22"}


def report(folder: Path) -> Report:
    return Report(folder / "deep", "name", ABOUT, {"speed": "Kernels", "offline": "Offline"})


def test_each_row_is_in_both_files_at_once(tmp_path: Path) -> None:
    """A run that is cut short leaves what it had: nothing waits for the end."""
    told = report(tmp_path)
    told.begin("speed")
    told.add("speed", Row("rms_norm", {"GB/s": 4012.25, "share of roof": 0.934, "agrees": True}, "a note"))
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["name.json", "name.md"]
    read = json.loads(told.json.read_text())
    assert read["about"] == ABOUT
    assert read["sections"]["speed"]["rows"][0]["figures"]["GB/s"] == 4012.25
    assert [read["sections"][name]["state"] for name in ("speed", "offline")] == ["running", "waiting"]
    text = told.markdown.read_text()
    assert "| rms_norm | 4,012 | 93.4% | yes |" in text
    assert "rms_norm: a note" in text


def test_rows_of_other_figures_get_a_table_of_their_own(tmp_path: Path) -> None:
    told = report(tmp_path)
    for subject, figures in (("a", {"x": 1.5}), ("b", {"x": 2.0}), ("c", {"y": "text"})):
        told.add("speed", Row(subject, figures))
    assert "|  | x |\n| --- | ---: |\n| a | 1.5 |\n| b | 2 |\n\n|  | y |\n| --- | ---: |\n| c | text |" in (
        told.markdown.read_text()
    )


def test_how_a_section_ended_and_why_is_there(tmp_path: Path) -> None:
    told = report(tmp_path)
    told.text("speed", "the longest kernels", "12 us  one")
    told.end("speed", "failed", 3.21, ["it broke"])
    text = told.markdown.read_text()
    assert "failed, 3.2 s" in text and "> it broke" in text
    assert "### the longest kernels\n\n```\n12 us  one\n```" in text
    assert told.states == {"speed": "failed", "offline": "waiting"}


def test_a_goal_is_reached_missed_or_not_measured(tmp_path: Path) -> None:
    """At least, or less than; a figure that no section found is neither reached nor missed."""
    told = report(tmp_path)
    told.add("offline", Row("qwen3-0.6b", {"share of ceiling": 0.75, "GPU idle share": 0.02, "bytes": 8191}))
    judged = verdicts(told.known(), ["qwen3-0.6b"])
    told.judge(judged)
    by_goal = {verdict.goal: (verdict.measured, verdict.verdict) for verdict in judged}
    assert len(by_goal) == len(list(goals(["qwen3-0.6b"]))) == 7
    assert by_goal["qwen3-0.6b: offline > 75 % of its ceiling"] == ("75.0%", "reached")
    assert by_goal["qwen3-0.6b: GPU idle < 2 % in steady decode"] == ("2.0%", "MISSED")
    assert by_goal["qwen3-0.6b: a step's difference < 8 KiB"] == ("8,191", "reached")
    assert by_goal["qwen3-0.6b: service set > 90 % of offline"] == ("", "not measured")
    assert "## Verdict" in told.markdown.read_text()
