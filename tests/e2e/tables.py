"""Tables of the documentation, read: what they say is held against what runs."""

import re
from collections.abc import Iterator

from tests.e2e.stack import ROOT

CODE = re.compile(r"`([^`]*)`")
BRACES = re.compile(r"(.*?)\{([^}]*)\}(.*)")


def rows(document: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table below `## heading`, without its head."""
    text = (ROOT / document).read_text().split(f"\n## {heading}\n", 1)[1]
    lines = [line for line in text.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def names(cell: str) -> set[str]:
    """What it holds in code, braces written out: `a.{b,c}` is a.b and a.c."""
    return {name for text in CODE.findall(cell) for name in _expanded(text)}


def _expanded(text: str) -> list[str]:
    if match := BRACES.fullmatch(text):
        return [f"{match[1]}{part}{match[3]}" for part in match[2].split(",")]
    return [text]
