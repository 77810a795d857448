"""What one part of a section is given: its settings, its card, a folder, and the way to tell what it found."""

import json
import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path

from tools.gpu_check.card import Card
from tools.gpu_check.report import Figures
from tools.gpu_check.settings import Settings
from tools.gpu_check.verdict import Known

Tell = Callable[[dict[str, object]], None]


class Failed(Exception):
    """What was measured is wrong. The rows that say how were told before."""


class Job:
    """`folder` is empty and goes with the part; `known` is what earlier sections found."""

    def __init__(
        self, settings: Settings, part: str, card: Card, folder: Path, known: Known, limit_s: float, tell: Tell
    ) -> None:
        self.settings = settings
        self.part = part
        self.card = card
        self.folder = folder
        self._known = known
        self._ends = time.monotonic() + limit_s
        self._tell = tell

    @property
    def left_s(self) -> float:
        """Seconds until this part is ended from outside."""
        return self._ends - time.monotonic()

    def row(self, subject: str, figures: Figures, note: str = "") -> None:
        """Numbers that are none (NaN, infinity) are told as text, as JSON has no word for them."""
        told = {name: v if not isinstance(v, float) or isfinite(v) else str(v) for name, v in figures.items()}
        self._tell({"row": {"subject": subject, "figures": told, "note": note}})

    def text(self, name: str, text: str) -> None:
        """A table longer than a row, as it should be printed."""
        self._tell({"text": {"name": name, "text": text}})

    def say(self, line: str) -> None:
        """Progress."""
        print(f"    {line}", flush=True)

    def known(self, section: str, subject: str, figure: str) -> float | None:
        """A number that an earlier section found; None if it was left out or failed."""
        value = self._known.get(section, {}).get(subject, {}).get(figure)
        return float(value) if isinstance(value, int | float) else None


def to_line(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"
