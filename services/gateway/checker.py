"""Whether a grammar can be used, found out in processes that may be killed (`sandbox.py`) and remembered for a while.

A grammar that costs too much fails its own request; the processes step back for whatever else runs on the machine.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.gateway.sandbox import Bounds, Ended, Sandbox, TookTooLong
from shared.errors import ClientError
from shared.grammars import LIMITS, first_line
from shared.types import TokenIds

PROGRAM = Path(__file__).with_name("checking.py")
MOST_PROCESSES = 4
KEPT_PROCESSES = 1
MEMORY_BYTES = 1 << 30  # of addresses: a large vocabulary is some 200 MB
KEPT_BYTES = 1 << 20
ENTRY_BYTES = 128  # of a verdict, beside its text


class Verdicts:
    """By grammar: what is wrong with it, or "". The least recently asked for go first."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, grammar: str) -> str | None:
        key = _key(grammar)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, grammar: str, verdict: str) -> None:
        key = _key(grammar)
        if key not in self._kept:
            self._kept[key] = verdict
            self.bytes += _size(verdict)
        while self.bytes > self._most:
            self.bytes -= _size(self._kept.popitem(last=False)[1])


class Checker:
    """`timeout_s`: what one grammar may take, on the wall."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        bounds = Bounds(timeout_s=timeout_s, most=MOST_PROCESSES, kept=KEPT_PROCESSES, memory=MEMORY_BYTES, nice=10)
        self._sandbox = Sandbox(PROGRAM, "the check of a grammar", bounds)
        self._verdicts = Verdicts()
        self._setup: dict[str, Any] = {}

    def serve(self, folder: Path, eos: TokenIds) -> None:
        """The checkpoint whose ids spell what grammars are about; before the first `check`."""
        tokenizer = str((folder / "tokenizer.json").resolve())
        self._setup = {"tokenizer": tokenizer, "eos": list(eos), "limits": asdict(LIMITS)}

    async def check(self, grammar: str, param: str) -> None:
        """Raises ClientError, naming `param`, for one that cannot be used; Unavailable."""
        verdict = self._verdicts.find(grammar)
        if verdict is None:
            verdict = await self._ask(grammar, param)
            self._verdicts.keep(grammar, verdict)
        if verdict:
            raise ClientError(f"{param}: {verdict}", param=param, code="invalid_value")

    async def close(self) -> None:
        await self._sandbox.close()

    def statistics(self) -> dict[str, int]:
        return {**self._sandbox.statistics(), "verdicts": len(self._verdicts), "verdict_bytes": self._verdicts.bytes}

    async def _ask(self, grammar: str, param: str) -> str:
        try:
            answer = await self._sandbox.ask(self._setup, {"grammar": grammar})
        except TookTooLong:  # perhaps the machine's fault: not remembered
            message = f"{param}: its check took longer than {self._timeout_s:g} s"
            raise ClientError(message, param=param, code="grammar_timeout") from None
        except Ended:
            return "it is too complex: its check ended"
        return first_line(answer["error"]) if "error" in answer else ""


def _key(grammar: str) -> bytes:
    return hashlib.blake2b(grammar.encode(errors="surrogatepass"), digest_size=32).digest()


def _size(verdict: str) -> int:
    return ENTRY_BYTES + len(verdict)


@asynccontextmanager
async def checker(timeout_s: float) -> AsyncIterator[Checker]:
    """Its processes end with its context."""
    made = Checker(timeout_s)
    try:
        yield made
    finally:
        await made.close()
