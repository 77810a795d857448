"""One program kept alive: started, watched, started again when it dies, ended when its task is cancelled.

A child leads a process group of its own: Ctrl-C reaches only the supervisor, and ending a child ends its children. On
Linux the kernel kills it when the supervisor dies, however that happens.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 30.0  # who lived this long starts with the first pause again
TAIL_BYTES = 8192
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class Death:
    """How a program ended that nobody asked to. `status` is negative for a signal; `deaths` counts them in a row."""

    name: str
    status: int
    deaths: int
    reason: str

    def __str__(self) -> str:
        if self.status < 0:  # who is killed has no last words: the log's last line is about something else
            return f"{self.name} ended (killed by {signal.Signals(-self.status).name})"
        return f"{self.name} ended (exit status {self.status}){': ' + self.reason if self.reason else ''}"


OnDeath = Callable[[Death], None]


async def keep(program: Program, log: Path, on_death: OnDeath, *, grace_s: float) -> None:
    """Run `program` for ever, its output added to `log`. Cancelling ends it: SIGTERM, after `grace_s` SIGKILL; a second
    cancellation cuts the grace short. What `on_death` raises goes to the parent, and the program stays down.
    """
    loop = asyncio.get_running_loop()
    deaths = 0
    while True:
        born = loop.time()
        # Shielded: asyncio kills outright what is being started when it is cancelled, and we want to end it properly.
        starting = loop.create_task(_start(program, log), name=f"start {program.name}")
        try:
            status = await (await asyncio.shield(starting)).wait()
        finally:
            await _end(await starting, grace_s)
        deaths = 1 if loop.time() - born > HEALTHY_S else deaths + 1
        on_death(Death(program.name, status, deaths, last_words(log)))
        await asyncio.sleep(pause_s(deaths))


def pause_s(deaths: int) -> float:
    """Seconds to wait after that many deaths in a row: doubling, capped."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(deaths - 1, 16)))


def last_words(log: Path) -> str:
    """The last line of a log that says something; a traceback's is the error, a service's the reason it gave."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:  # somebody tidied up
        return ""
    return next((_said(line) for line in reversed(lines) if any(map(str.isalnum, line))), "")


def _said(line: str) -> str:
    """What a line says; of a log in JSON its message, and the last line of an exception."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            return line
        exception = str(fields.get("exception", "")).strip().rpartition("\n")[2]
        return ": ".join(part for part in (str(fields.get("message", "")), exception) if part) or line
    return line.strip(" |+-")


async def _start(program: Program, log: Path) -> asyncio.subprocess.Process:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.PIPE if program.stdin else asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(program.environment),
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
    if process.stdin:
        process.stdin.write(program.stdin)
        process.stdin.close()
    return process


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ends the whole group; returns when the process is gone, at once if it already is."""
    try:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            async with asyncio.timeout(grace_s):
                await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the group is gone; macOS says it in the second way
        return


def die_with(parent: int) -> Callable[[], None] | None:
    """For the new process, before its program: ask the kernel for SIGKILL when the parent dies (prctl(2), Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # loaded here: a forked child should not load libraries

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return before_exec
