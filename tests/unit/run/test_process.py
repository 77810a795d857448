"""A program is kept alive, and ended with all it started."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tools.run.process import LONGEST_PAUSE_S, Death, Program, keep, last_words, pause_s

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
FERTILE = """
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-Sc", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


def program(code: str) -> Program:
    return Program(name="fake", command=(sys.executable, "-Sc", code), environment=os.environ)


def ignore(death: Death) -> None:
    assert death.name == "fake"


def alive(pid: int) -> bool:
    """Does it run? A zombie that nobody has reaped yet does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def kept(code: str, log: Path, *, grace_s: float = 5.0) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(keep(program(code), log, ignore, grace_s=grace_s))
        yield task
        task.cancel()


async def test_a_program_that_dies_is_started_again(tmp_path: Path) -> None:
    """Each death is reported with its status, its number in a row and the last thing the program said."""
    deaths: list[Death] = []

    def note(death: Death) -> None:
        deaths.append(death)
        if len(deaths) == 2:
            raise RuntimeError("enough")

    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="enough"):
        await keep(program("print('lost my way'); raise SystemExit(3)"), log, note, grace_s=1.0)
    assert deaths == [Death("fake", 3, 1, "lost my way"), Death("fake", 3, 2, "lost my way")]
    assert str(deaths[0]) == "fake ended (exit status 3): lost my way"
    assert log.read_text() == "lost my way\n" * 2


async def test_cancelling_ends_the_program_within_its_grace(tmp_path: Path) -> None:
    """SIGTERM is enough for a program that listens to it."""
    log = tmp_path / "log"
    async with kept("import os, signal; print(os.getpid(), flush=True); signal.pause()", log):
        await until(lambda: log.exists() and log.read_text().endswith("\n"))
        pid = int(log.read_text())
        assert alive(pid)
    assert not alive(pid)


async def test_a_program_cancelled_while_it_starts_is_ended_properly_too(tmp_path: Path) -> None:
    """It has its grace from the first moment on."""
    log = tmp_path / "log"
    code = "import signal; signal.sigwait([signal.SIGTERM]); print('a proper end', flush=True)"
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # inherited: it cannot miss the signal
    try:
        async with kept(code, log):
            await asyncio.sleep(0)  # the task has begun to start it
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert log.read_text() == "a proper end\n"


async def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    """No program can refuse to end."""
    log = tmp_path / "log"
    async with kept(STUBBORN, log, grace_s=0.05):
        await until(lambda: log.exists() and "up" in log.read_text())


async def test_a_second_cancellation_cuts_the_grace_short(tmp_path: Path) -> None:
    """An impatient operator does not wait for the grace of a stubborn program."""
    log = tmp_path / "log"
    async with asyncio.timeout(20), kept(STUBBORN, log, grace_s=3600) as task:
        await until(lambda: log.exists() and "up" in log.read_text())
        task.cancel()
        await asyncio.sleep(0)  # the first cancellation has arrived when the second comes


async def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    """The whole process group goes, so a rank of a worker never outlives its engine."""
    log = tmp_path / "log"
    async with kept(FERTILE, log):
        await until(lambda: log.exists() and log.read_text().endswith("\n"))
        grandchild = int(log.read_text())
        assert alive(grandchild)
    await until(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_a_supervisor_killed_outright_leaves_nothing_behind(tmp_path: Path) -> None:
    """The kernel ends the children when SIGKILL gives the supervisor no chance to."""
    log = tmp_path / "log"
    code = f"""
import asyncio, os, pathlib, sys
from tools.run.process import Program, keep
child = (sys.executable, "-Sc", "import os, signal; print(os.getpid(), flush=True); signal.pause()")
program = Program(name="fake", command=child, environment=os.environ)
asyncio.run(keep(program, pathlib.Path({str(log)!r}), print, grace_s=1.0))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        await until(lambda: log.exists() and log.read_text().endswith("\n"))
        pid = int(log.read_text())
        assert alive(pid)
        supervisor.send_signal(signal.SIGKILL)
    await until(lambda: not alive(pid))


async def test_a_log_that_somebody_removed_begins_again(tmp_path: Path) -> None:
    """Tidying up under a running set costs the log, not the set."""
    log, deaths = tmp_path / "run" / "log", list[Death]()

    def tidy(death: Death) -> None:
        deaths.append(death)
        if len(deaths) == 2:
            raise RuntimeError("enough")
        shutil.rmtree(log.parent)

    code = f"import pathlib; print('first'); pathlib.Path({str(log)!r}).unlink(); raise SystemExit(1)"
    with pytest.raises(RuntimeError, match="enough"):
        await keep(program(code), log, tidy, grace_s=1.0)
    assert [death.reason for death in deaths] == ["", ""]


async def test_a_program_reads_what_it_was_given_and_then_the_end(tmp_path: Path) -> None:
    """Secrets go in by standard input; who was given nothing reads nothing instead of waiting."""
    heard: list[str] = []

    def note(death: Death) -> None:
        heard.append(death.reason)
        raise RuntimeError

    code = "import sys; print('heard:', sys.stdin.read())"
    for stdin in (b"secret", b""):
        given = Program(name="fake", command=(sys.executable, "-Sc", code), environment=os.environ, stdin=stdin)
        with pytest.raises(RuntimeError):
            await keep(given, tmp_path / "log", note, grace_s=1.0)
    assert heard == ["heard: secret", "heard:"]


def test_pauses_double_up_to_a_cap() -> None:
    """A program that cannot live is not started in a tight loop, and one that can is not kept waiting for long."""
    pauses = [pause_s(n) for n in range(1, 12)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S == pause_s(10**6)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ""),
        ("first\nlast\n\n", "last"),
        ("  | ValueError: bad\n  +------------------\n", "ValueError: bad"),
        ("x" * 10_000 + "\nend", "end"),
        ("caf\u00e9 \ud83d\ude42".encode("utf-16", "surrogatepass").decode("utf-16"), "caf\u00e9 \U0001f642"),
    ],
    ids=["empty", "blank lines", "frame of an exception group", "longer than is read", "not ASCII"],
)
def test_the_last_words_of_a_log_are_its_last_line_with_words(tmp_path: Path, text: str, expected: str) -> None:
    """Rulers and blank lines are passed over."""
    log = tmp_path / "log"
    log.write_text(text, encoding="utf-8")
    assert last_words(log) == expected
