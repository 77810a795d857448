"""The questions the model can answer: facts read from `facts/*.txt`.

A fact is a block of lines, blocks are separated by blank lines, and the first character of a line says what it is:

    = a name of the thing ("=*" for a plural); the phrasings of `phrasing.py` make questions of it
    ? a question in its own words
    ! the same, but held out: never trained on, asked only when the model is evaluated
    > the answer; one per fact, lines are joined by a space
    # a comment
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "facts"


@dataclass(frozen=True, slots=True)
class Fact:
    """One answer and the ways to ask for it."""

    answer: str
    names: tuple[str, ...]
    plurals: tuple[str, ...]
    questions: tuple[str, ...]
    held_out: tuple[str, ...]


def parse(text: str, origin: str) -> list[Fact]:
    """The facts in a file's text.

    Raises:
        ValueError: a block without an answer or without a question, or a line of unknown kind; names the origin.
    """
    return [_fact(block, origin) for block in text.split("\n\n") if _lines(block)]


def load() -> list[Fact]:
    """All facts, in the order of the file names."""
    return [fact for path in sorted(FOLDER.glob("*.txt")) for fact in parse(path.read_text("utf-8"), path.name)]


def _lines(block: str) -> list[str]:
    return [line.rstrip() for line in block.splitlines() if line.strip() and not line.startswith("#")]


def _fact(block: str, origin: str) -> Fact:
    kinds: dict[str, list[str]] = {"=": [], "=*": [], "?": [], "!": [], ">": []}
    for line in _lines(block):
        kind, _, rest = line.partition(" ")
        if kind not in kinds:
            raise ValueError(f"{origin}: a line must start with one of {' '.join(kinds)} and a space, got {line!r}")
        kinds[kind].append(rest.strip())
    if not kinds[">"] or not (kinds["="] or kinds["=*"] or kinds["?"]):
        raise ValueError(f"{origin}: a fact needs an answer and a name or a question, got {block!r}")
    return Fact(
        answer=" ".join(kinds[">"]),
        names=tuple(kinds["="]),
        plurals=tuple(kinds["=*"]),
        questions=tuple(kinds["?"]),
        held_out=tuple(kinds["!"]),
    )
