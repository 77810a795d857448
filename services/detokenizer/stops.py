"""Find stop strings in text that comes in pieces, wherever the borders of the pieces lie (pure).

The stop that is complete first wins, of two that are complete at once the longer one; the text is cut before it, or
behind it if it is to be shown. What could be the beginning of a stop is held back until that is decided, so no client
ever sees part of one. Neither depends on how the text was cut into pieces.
"""

from collections.abc import Sequence


class StopFinder:
    __slots__ = ("_firsts", "_held", "_longest", "_shown", "_stops")

    def __init__(self, stops: Sequence[str], *, shown: bool = False) -> None:
        self._shown = shown
        self._stops = tuple(stop for stop in stops if stop)
        self._firsts = frozenset(stop[0] for stop in self._stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def push(self, piece: str, armed: bool = True) -> tuple[str, bool]:
        """The text that may be shown now, and whether a stop was found: then nothing follows.

        While not `armed` (before min_tokens) a stop that is completed by this piece is text like any other.
        """
        if not piece or not self._stops:
            return piece, False
        text = self._held + piece
        if armed:
            found = self._find(text, len(self._held))
            if found is not None:
                self._held = ""
                end, start = found
                return text[: end if self._shown else start], True
        border = self._border(text)
        self._held = text[border:]
        return text[:border], False

    def flush(self) -> str:
        """What was held back: nothing follows."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str, after: int) -> tuple[int, int] | None:
        """(end, start) of the stop that ends first, and beyond `after`."""
        best: tuple[int, int] | None = None  # the least is wanted
        for stop in self._stops:
            start = text.find(stop, max(0, after - len(stop) + 1))
            if start >= 0 and (best is None or (start + len(stop), start) < best):
                best = start + len(stop), start
        return best

    def _border(self, text: str) -> int:
        """Where the longest end of the text starts that a stop begins with."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._firsts:
                tail = text[start:]
                if any(stop.startswith(tail) and stop != tail for stop in self._stops):
                    return start
        return len(text)
