"""Tells what a model thinks from what it answers: `<think>...</think>` before the answer (pure).

The block may only stand at the beginning, behind blanks. Templates that open it in the prompt leave only its end to the
model. Line breaks just inside the block and just behind it are dropped, as the templates that write it add them.
"""

from collections.abc import Callable

from services.detokenizer.seek import Expect, Seeker

OPEN, CLOSE = "<think>", "</think>"
BREAKS = "\n"


class Thinking:
    """Of one answer. `opened`: the prompt has opened the block, and what follows is thought, marked again or not."""

    def __init__(self, opened: bool = False) -> None:
        self.active = opened  # what comes next is thought
        self._opened = opened
        self._beginning = Expect(OPEN)
        self._end = Seeker(CLOSE, BREAKS)
        self._fresh = opened  # only line breaks have come since the mark
        self._thought: list[str] = []  # what this piece made known
        self._answer: list[str] = []
        self._state: Callable[[Thinking, str], str] = Thinking._begin

    def push(self, piece: str) -> tuple[str, str]:
        """Thought and answer that can be told now and could not before."""
        while piece:
            piece = self._state(self, piece)
        told = "".join(self._thought), "".join(self._answer)
        self._thought, self._answer = [], []
        return told

    def flush(self) -> tuple[str, str]:
        """Nothing follows: what was held back."""
        held = self._beginning.flush() + self._end.flush()
        (self._thought if self.active else self._answer).append(self._without_breaks(held))
        return self.push("")

    # ---- states: each takes of the piece what it can, and returns the rest
    def _begin(self, piece: str) -> str:
        found, rest = self._beginning.push(piece)
        if found is None:
            return ""
        self.active = bool(found) or self._opened
        self._beginning = Expect(OPEN)
        self._fresh = self.active
        self._state = Thinking._think if self.active else Thinking._say
        return rest

    def _think(self, piece: str) -> str:
        thought, _, rest = self._end.push(self._without_breaks(piece))
        self._thought.append(thought)
        if rest is None:
            return ""
        self.active, self._fresh, self._state = False, True, Thinking._say
        return rest

    def _say(self, piece: str) -> str:
        self._answer.append(self._without_breaks(piece))
        return ""

    def _without_breaks(self, piece: str) -> str:
        """Without those that follow a mark."""
        if self._fresh:
            piece = piece.lstrip(BREAKS)
            self._fresh = not piece
        return piece
