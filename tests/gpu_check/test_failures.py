"""What gpu-check says where there is no card, no set and no server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tools.gpu_check.card import HostCard
from tools.gpu_check.job import Failed, Job
from tools.gpu_check.sections.environment import roofs
from tools.gpu_check.sections.service import clients, service_set
from tools.gpu_check.settings import ROOT, Settings
from tools.gpu_check.shapes import write_config
from tools.gpu_check.verdict import Known
from tools.gpu_check.vocabulary import write_tokenizer
from tools.gpu_check.workload import Ask
from tools.run.embedded import free_port


def job(folder: Path, known: Known, told: list[dict[str, object]]) -> Job:
    return Job(Settings.for_this_machine(dry=True), "tiny", HostCard(), folder, known, 60.0, told.append)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_each_section_says_so_and_the_status_is_1(tmp_path: Path) -> None:
    """And it names the flag that does without; a verdict is given all the same."""
    command = [sys.executable, "-m", "tools.gpu_check", "--sections", "environment", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(next(tmp_path.glob("*.json")).read_text())
    (reason,) = told["sections"]["environment"]["reasons"]
    assert "no CUDA device" in reason and "--dry-run" in reason
    assert {one["verdict"] for one in told["verdicts"]} == {"not measured"}


def test_a_set_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with (
        pytest.raises(Failed, match=r"the set did not start: .*config\.json"),
        service_set(job(tmp_path, {}, []), empty, "tiny"),
    ):
        pass


def test_a_client_that_is_refused_is_no_figure() -> None:
    """Nobody listens there."""
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    with clients(url, "tiny", [Ask((1, 2), 3)], 1) as load, pytest.raises(Failed, match="without an answer"):
        load()


def test_ceilings_are_those_of_the_run_and_measured_if_it_has_none(tmp_path: Path) -> None:
    """So every share in one report is of the same numbers."""
    told: list[dict[str, object]] = []
    known: Known = {"environment": {"read": {"GB/s": 4300.0}, "matmul": {"TFLOP/s": 790.0}}}
    assert roofs(job(tmp_path, known, told)) == (4.3e12, 790e12)
    assert told == []
    found = roofs(job(tmp_path, {}, told))
    assert found.read > 0 and found.product > 0
    assert [message["row"]["subject"] for message in told] == ["copy", "read", "matmul"]  # type: ignore[index]


def test_a_set_in_which_something_goes_wrong_leaves_its_logs(tmp_path: Path) -> None:
    """The folder goes with the process, so the ends of the logs go into the report."""
    told: list[dict[str, object]] = []
    given = job(tmp_path, {}, told)
    folder = write_tokenizer(1000, write_config("tiny", tmp_path / "tiny"))
    with pytest.raises(KeyboardInterrupt), service_set(given, folder, "tiny"):
        raise KeyboardInterrupt
    logs = [message["text"] for message in told if "text" in message]
    assert [log["name"] for log in logs] == [  # type: ignore[index]
        f"tiny: {name}-0.log" if name != "redis" else "tiny: redis.log"
        for name in ("detokenizer", "engine", "gateway", "redis")
    ]
    assert "ready" in logs[1]["text"]  # type: ignore[index]
