"""Runs the sections one after the other, each within its time, and takes what their processes tell. No torch here."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from tools.gpu_check.report import Report, Row
from tools.gpu_check.sections import Section
from tools.gpu_check.settings import ROOT, Settings

GRACE_S = 5.0  # from the request to end until the end
PYTHON, CHILD = (sys.executable, "-m"), "tools.gpu_check.child"
LATE = "out of time"
QUIET = {"TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
LEAST_S = 2.0  # less is not worth a start
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """When all must have ended, on `clock`."""

    ends: float
    clock: Clock = time.monotonic

    def of(self, section: Section) -> float:
        return min(self.clock() + section.budget_s, self.ends)


class Conductor:
    """`program` is what each part is run by; tests put a small one in its place."""

    def __init__(
        self, settings: Settings, report: Report, limits: Limits, program: Sequence[str] = (*PYTHON, CHILD)
    ) -> None:
        self._settings = settings
        self._report = report
        self._limits = limits
        self._program = program
        self._running: set[subprocess.Popen[bytes]] = set()

    def conduct(self, sections: Sequence[Section]) -> None:
        """A section that fails or is late says so in the report; the next one runs all the same."""
        for section in sections:
            began = self._limits.clock()
            print(f"== {section.title}", flush=True)
            self._report.begin(section.name)
            reasons = self._run(section)
            late = any(reason.startswith(LATE) for reason in reasons)
            state, seconds = "late" if late else "failed" if reasons else "done", self._limits.clock() - began
            self._report.end(section.name, state, seconds, reasons)
            print("\n   ".join([f"   {state}, {seconds:.0f} s", *reasons]), flush=True)

    def _run(self, section: Section) -> list[str]:
        """All parts; the reasons of those that failed."""
        ends, parts = self._limits.of(section), section.parts(self._settings)
        known = json.dumps(self._report.known())
        interpreter = {"TRITON_INTERPRET": "1"} if self._settings.dry and section.interpreted else {}

        def part(index: int) -> str:
            left = ends - self._limits.clock()
            # One after the other: each may take its share of what is left, and leaves what it did not need.
            limit_s = left if section.at_once > 1 else left / (len(parts) - index)
            told = (section.name, parts[index], self._settings.text(), known, str(limit_s))
            return self._part((*self._program, *told), interpreter, section.name, parts[index], limit_s)

        with ThreadPoolExecutor(min(section.at_once, os.cpu_count() or 1)) as pool:
            try:
                return [reason for reason in pool.map(part, range(len(parts))) if reason]
            except BaseException:  # Ctrl-C: the parts, in sessions of their own, do not hear of it
                pool.shutdown(wait=False, cancel_futures=True)
                for child in tuple(self._running):
                    _end(child)
                raise

    def _part(
        self, command: Sequence[str], environment: Mapping[str, str], section: str, part: str, limit_s: float
    ) -> str:
        """Why it failed; nothing if it did not."""
        named = f"{part}: " if part else ""
        if limit_s < LEAST_S:
            return f"{LATE}: {named}nothing was left of its budget"
        reading, writing = os.pipe()
        child = subprocess.Popen(
            [*command, str(writing)],
            cwd=ROOT,
            env={**os.environ, **QUIET, **environment},
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        self._running.add(child)
        late = threading.Event()

        def out_of_time() -> None:
            late.set()
            _end(child)

        alarm = threading.Timer(limit_s, out_of_time)
        alarm.start()
        try:
            with open(reading, "rb") as lines:
                end = _take(lines, section, self._report)
            status = child.wait()
        finally:
            alarm.cancel()
            _end(child)
            self._running.discard(child)
        if late.is_set():
            return f"{LATE}: {named}not done within {limit_s:.0f} s"
        return f"{named}ended with status {status} and said nothing" if end is None else end


def _take(lines: IO[bytes], section: str, report: Report) -> str | None:
    """Everything a part tells; its last word, or None if it had none."""
    for message in _messages(lines):
        if "row" in message:
            report.add(section, Row(**message["row"]))
        elif "text" in message:
            report.text(section, **message["text"])
        else:
            return str(message["end"])
    return None


def _messages(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.endswith(b"\n"):  # a half line is what somebody was telling when it died
            yield json.loads(line)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """The whole group, first with a chance to tidy up."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
