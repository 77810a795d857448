"""Renders chat templates, in processes that may be killed (`sandbox.py`): a chat that takes too long fails alone."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.gateway.sandbox import Bounds, Ended, Sandbox, TookTooLong
from shared.errors import ClientError

PROGRAM = Path(__file__).with_name("templating.py")
MOST_PROCESSES = 8
KEPT_PROCESSES = 2


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
        bounds = Bounds(timeout_s=timeout_s, most=MOST_PROCESSES, kept=KEPT_PROCESSES)
        self._sandbox = Sandbox(PROGRAM, "the chat template", bounds)

    async def render(
        self, template: Template, messages: Sequence[Mapping[str, Any]], most: int, variables: Variables = PLAIN
    ) -> str | None:
        """The text; None if it has more than `most` characters. Raises ClientError, Unavailable."""
        setup = {"template": template.source, "names": dict(template.names)}
        try:
            answer = await self._sandbox.ask(setup, {"messages": messages, "most": most, **asdict(variables)})
        except TookTooLong:
            message = f"the chat template took longer than {self._timeout_s:g} s"
            raise ClientError(message, param="messages", code="template_timeout") from None
        except Ended:
            message = "the chat template refused the messages: its process ended"
            raise ClientError(message, param="messages") from None
        if "error" in answer:
            raise ClientError(f"the chat template refused the messages: {answer['error']}", param="messages")
        return answer.get("text")

    async def close(self) -> None:
        await self._sandbox.close()

    def statistics(self) -> dict[str, int]:
        return self._sandbox.statistics()


@asynccontextmanager
async def renderers(timeout_s: float) -> AsyncIterator[Renderers]:
    """They end with their context."""
    pool = Renderers(timeout_s)
    try:
        yield pool
    finally:
        await pool.close()
