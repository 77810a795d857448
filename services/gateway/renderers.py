"""The processes that render chat templates: one chat each at a time, killed when it takes too long.

There are as many as are needed at once, up to MOST_PROCESSES; a few stay for the next chat. Whatever does not end as it
should (time over, client gone, broken pipe) costs its process, so that none is ever used in an unknown state.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shared.errors import ClientError, Unavailable

PROGRAM = Path(__file__).with_name("templating.py")
MOST_PROCESSES = 8
KEPT_PROCESSES = 2
MEMORY_BYTES = 512 << 20  # of addresses, of one process
LINE_BYTES = 64 << 20  # of one answer


@dataclass(frozen=True, slots=True)
class Template:
    """A checkpoint's chat template, and the special tokens it knows by name."""

    source: str
    names: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variables:
    """What a template is given beside the messages."""

    tools: Sequence[Mapping[str, Any]] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)  # the client's own
    add_generation_prompt: bool = True
    continue_final_message: bool = False


PLAIN = Variables()


class Renderers:
    """`timeout_s`: what one chat may take, on the wall."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._idle: list[_Process] = []
        self._slots = asyncio.Semaphore(MOST_PROCESSES)
        self._started = 0
        self._killed = 0

    async def render(
        self, template: Template, messages: Sequence[Mapping[str, Any]], most: int, variables: Variables = PLAIN
    ) -> str | None:
        """The text; None if it has more than `most` characters. Raises ClientError, Unavailable."""
        async with self._slots:
            process = await self._process(template)
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await process.ask({"messages": messages, "most": most, **asdict(variables)})
            except TimeoutError:
                await self._end(process)
                message = f"the chat template took longer than {self._timeout_s:g} s"
                raise ClientError(message, param="messages", code="template_timeout") from None
            except (OSError, ValueError):  # it died, or said more than a line may hold
                await self._end(process)
                message = "the chat template refused the messages: its process ended"
                raise ClientError(message, param="messages") from None
            except BaseException:
                await self._end(process)
                raise
            await self._keep(process)
        if "error" in answer:
            raise ClientError(f"the chat template refused the messages: {answer['error']}", param="messages")
        return answer.get("text")

    async def close(self) -> None:
        while self._idle:
            await self._end(self._idle.pop())

    def statistics(self) -> dict[str, int]:
        return {"idle": len(self._idle), "started": self._started, "killed": self._killed}

    async def _process(self, template: Template) -> "_Process":
        for process in [process for process in self._idle if process.template == template or not process.alive]:
            self._idle.remove(process)
            if process.alive:
                return process
            await self._end(process)
        try:
            self._started += 1
            return await _Process.start(template, self._timeout_s)
        except OSError as error:  # no more processes, no more memory: not the client's fault
            raise Unavailable(f"no process for the chat template: {error}") from None

    async def _keep(self, process: "_Process") -> None:
        if len(self._idle) < KEPT_PROCESSES:
            self._idle.append(process)
        else:
            await self._end(process)

    async def _end(self, process: "_Process") -> None:
        self._killed += 1
        await process.kill()


class _Process:
    def __init__(self, template: Template, process: asyncio.subprocess.Process) -> None:
        self.template = template
        self._process = process

    @classmethod
    async def start(cls, template: Template, timeout_s: float) -> "_Process":
        """Isolated (`-I`) and without our environment: there are secrets in it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(PROGRAM)),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            limit=LINE_BYTES,
        )
        started = cls(template, process)
        cpu_s = math.ceil(timeout_s) + 1
        started._write({"template": template.source, "names": template.names, "memory": MEMORY_BYTES, "cpu_s": cpu_s})
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


@asynccontextmanager
async def renderers(timeout_s: float) -> AsyncIterator[Renderers]:
    """They end with their context."""
    pool = Renderers(timeout_s)
    try:
        yield pool
    finally:
        await pool.close()
