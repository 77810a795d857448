"""The processes themselves: what they load, what they leave behind, how they fail."""

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.stack import ROOT, Stack


def maps_of(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_only_who_computes_maps_torch(stack: Stack) -> None:
    """250 MB a process that nobody else needs."""
    assert "libtorch" in maps_of(stack.process("engine.worker.rank"))
    for service in ("engine", "gateway", "detokenizer"):
        assert "libtorch" not in maps_of(stack.process(service)), service


def test_no_secret_is_on_a_command_line(stack: Stack) -> None:
    for process in stack.processes:
        line = " ".join(process.cmdline())
        assert "redis://" not in line and "token" not in line.replace("detokenizer", ""), line


def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        processes = stack.processes
        assert len(processes) >= 5  # the supervisor, redis, engine, detokenizer, gateway
        assert stack.interrupt() == 0
    assert [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert not (tmp_path / "redis").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model", "no/where/at/all"], "no/where/at/all"),
        (["--engine-args", "--max-num-seqs nine"], "--max-num-seqs"),
        (["--engine-args", "--no-such-flag 1"], "--no-such-flag"),
    ],
    ids=["model", "value", "flag"],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, flags: list[str], reason: str) -> None:
    command = [sys.executable, "-m", "tools.run", "--port", "0", "--run-dir", str(tmp_path), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert reason in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tools.run", "--port", port, "--run-dir", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and port in done.stderr and "PORT" in done.stderr.upper()
