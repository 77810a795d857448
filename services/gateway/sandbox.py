"""Processes for work that is not to be trusted: one question each at a time, killed when it takes too long.

There are as many as are needed at once, up to a bound; a few stay for the next question. Whatever does not end as it
should (time over, client gone, broken pipe) costs its process, so that none is ever used in an unknown state.
"""

import asyncio
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shared.errors import Unavailable

RUNNER = Path(__file__).with_name("sandboxed.py")
LINE_BYTES = 64 << 20  # of one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of the processes of one pool."""

    timeout_s: float  # of one question, on the wall
    most: int  # processes at once
    kept: int  # processes that wait for the next question
    memory: int = 512 << 20  # bytes of addresses, of one process
    nice: int = 0  # how much it steps back for others


class TookTooLong(Exception):
    """The process was killed."""


class Ended(Exception):
    """The process died of the question, or said more than a line may hold."""


class Sandbox:
    """`program`: a file as `sandboxed.py` wants it; `purpose`: what it is for, in words."""

    def __init__(self, program: Path, purpose: str, bounds: Bounds) -> None:
        self._program = program
        self._purpose = purpose
        self._bounds = bounds
        self._idle: list[_Process] = []
        self._slots = asyncio.Semaphore(bounds.most)
        self._started = 0
        self._killed = 0

    async def ask(self, setup: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a process with this set-up, `{"error": ...}` if it has none.

        Raises TookTooLong, Ended, Unavailable.
        """
        async with self._slots:
            process = await self._process(setup)
            try:
                async with asyncio.timeout(self._bounds.timeout_s):
                    answer = await process.ask(question)
            except TimeoutError:
                await self._end(process)
                raise TookTooLong from None
            except (OSError, ValueError):
                await self._end(process)
                raise Ended from None
            except BaseException:
                await self._end(process)
                raise
            await self._keep(process)
        return answer

    async def close(self) -> None:
        while self._idle:
            await self._end(self._idle.pop())

    def statistics(self) -> dict[str, int]:
        return {"idle": len(self._idle), "started": self._started, "killed": self._killed}

    async def _process(self, setup: Mapping[str, Any]) -> "_Process":
        for process in [process for process in self._idle if process.setup == setup or not process.alive]:
            self._idle.remove(process)
            if process.alive:
                return process
            await self._end(process)
        try:
            self._started += 1
            return await _Process.start(self._program, setup, self._bounds)
        except OSError as error:  # no more processes, no more memory: not the client's fault
            raise Unavailable(f"no process for {self._purpose}: {error}") from None

    async def _keep(self, process: "_Process") -> None:
        if len(self._idle) < self._bounds.kept:
            self._idle.append(process)
        else:
            await self._end(process)

    async def _end(self, process: "_Process") -> None:
        self._killed += 1
        await process.kill()


class _Process:
    def __init__(self, setup: Mapping[str, Any], process: asyncio.subprocess.Process) -> None:
        self.setup = setup
        self._process = process

    @classmethod
    async def start(cls, program: Path, setup: Mapping[str, Any], bounds: Bounds) -> "_Process":
        """Isolated (`-I`) and without our environment: there are secrets in it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(RUNNER), str(program)),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            limit=LINE_BYTES,
        )
        started = cls(setup, process)
        cpu_s = math.ceil(bounds.timeout_s) + 1
        started._write({"setup": setup, "memory": bounds.memory, "cpu_s": cpu_s, "nice": bounds.nice})
        return started

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Raises OSError or ValueError for a process that is gone, or an answer that is none."""
        assert self._process.stdin and self._process.stdout
        self._write(question)
        await self._process.stdin.drain()
        answer = orjson.loads(await self._process.stdout.readline())
        if not isinstance(answer, dict):
            raise ValueError("not an answer")
        return answer

    async def kill(self) -> None:
        """It is gone when this returns, cancelled or not."""
        if self.alive:
            self._process.kill()
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()

    def _write(self, value: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(orjson.dumps(value) + b"\n")
