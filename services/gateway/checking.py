"""Checks a grammar, in a process that may be killed at any time (`sandboxed.py`): it is compiled as the engine will
compile it, with the engine's limits, and a few masks are made.

A question is `{grammar}`, its answer `{}` or `{error}`. What the library cannot take (it recurses along a grammar's
rules) ends this process and no other.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import llguidance

STEPS = 16  # masks that are made; some grammars grow only as they are used


class Checker:
    def __init__(self, tokenizer: str, eos: list[int], limits: dict[str, int]) -> None:
        text = Path(tokenizer).read_text("utf-8")
        self._tokenizer = llguidance.LLTokenizer(text)
        spelled = [id for id in eos if id < self._tokenizer.vocab_size]  # a checkpoint may name others
        if spelled and spelled != self._tokenizer.eos_tokens:
            self._tokenizer = llguidance.LLTokenizer(text, eos_token=spelled)
        self._limits = llguidance.LLParserLimits(verbose_errors=False, **limits)  # type: ignore[arg-type]

    def check(self, grammar: str) -> dict[str, Any]:
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        for _ in range(STEPS):
            if matcher.is_error():
                break
            id = self._first(matcher.compute_bitmask())
            if id is None or matcher.try_consume_tokens([id]) != 1:
                break
        return {"error": matcher.get_error()} if matcher.is_error() else {}

    def _first(self, mask: bytes) -> int | None:
        """The lowest id that is allowed and does not end the text; None if there is none."""
        for at, byte in enumerate(mask):
            while byte:
                id = 8 * at + (byte & -byte).bit_length() - 1
                if id not in self._tokenizer.eos_tokens:
                    return id
                byte &= byte - 1
        return None


def opened(tokenizer: str, eos: list[int], limits: dict[str, int]) -> Callable[..., dict[str, Any]]:
    """`tokenizer`: the path of a tokenizer.json."""
    return Checker(tokenizer, eos, limits).check
