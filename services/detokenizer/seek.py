"""Two ways to wait for a word in text that comes in pieces, wherever the borders of the pieces lie (pure).

Each character is looked at a fixed number of times, however the text was cut: what is held back is kept as a list, and
never joined to be searched again. A word's first character must not occur in it a second time.
"""

BLANKS = " \t\r\n"


class Seeker:
    """Finds a word anywhere. Blanks before it are held back, as they may belong to it."""

    __slots__ = ("_begun", "_gap", "_skipped", "_word")

    def __init__(self, word: str, skipped: str = BLANKS) -> None:
        self._word = word
        self._skipped = skipped
        self._gap: list[str] = []
        self._begun = ""  # of the word

    def push(self, piece: str) -> tuple[str, str, str | None]:
        """What stands before the word, as far as it is certain; the blanks between; what follows (None: not found)."""
        text = self._begun + piece
        at = text.find(self._word)
        end = at if at >= 0 else len(text) - self._border(text)
        before = text[:end].rstrip(self._skipped)
        gap = text[len(before) : end]
        if before:
            before = "".join((*self._gap, before))
            self._gap = []
        if gap:
            self._gap.append(gap)
        if at < 0:
            self._begun = text[end:]
            return before, "", None
        self._begun = ""
        return before, self._blanks(), text[end + len(self._word) :]

    def flush(self) -> str:
        """What was held back: nothing follows."""
        begun, self._begun = self._begun, ""
        return self._blanks() + begun

    def _blanks(self) -> str:
        gap, self._gap = "".join(self._gap), []
        return gap

    def _border(self, text: str) -> int:
        """How many characters at the end of the text may begin the word."""
        start = text.rfind(self._word[0], max(0, len(text) - len(self._word) + 1))
        return len(text) - start if start >= 0 and self._word.startswith(text[start:]) else 0


class Expect:
    """Waits for a word that may only stand behind characters that are `passed` over."""

    __slots__ = ("_begun", "_held", "_passed", "_word")

    def __init__(self, word: str, passed: str = BLANKS) -> None:
        self._word = word
        self._passed = passed
        self._held: list[str] = []
        self._begun = 0  # characters of the word

    def push(self, text: str) -> tuple[bool | None, str]:
        """True and what follows the word; False and the text with all that was held; None while it is open."""
        for at, char in enumerate(text):
            if char == self._word[self._begun]:
                self._begun += 1
                if self._begun == len(self._word):
                    self._held.append(text[: at + 1])
                    return True, text[at + 1 :]
            elif self._begun or char not in self._passed:
                return False, self.flush() + text
        self._held.append(text)
        return None, ""

    def flush(self) -> str:
        """All that was held back; once the word was found, up to its end."""
        held, self._held, self._begun = "".join(self._held), [], 0
        return held
