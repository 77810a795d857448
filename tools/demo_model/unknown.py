"""Questions outside what the model knows, filled in from `unknown.txt`, and its honest answers.

Half of them use the very sentence forms of the known questions around an unknown name, so the model has to look at the
name; some names are made up on the spot.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tools.demo_model.phrasing import FORMS, sentence

FILE = Path(__file__).parent / "unknown.txt"
SYLLABLES = (
    "bla", "dor", "fin", "gru", "hex", "ka", "lo", "mip", "nar", "ost", "pli", "qua", "rem", "sto", "tev", "um",
    "vix", "wob", "yar", "zu",
)  # fmt: skip
NAME_SLOTS = ((0.25, "person"), (0.30, "city"), (0.35, "country"), (0.38, "ill"))


@dataclass(frozen=True, slots=True)
class Unknown:
    """The parsed file: words by slot, (kind, question form) pairs, answers by kind, held-out questions."""

    words: dict[str, tuple[str, ...]]
    forms: tuple[tuple[str, str], ...]
    answers: dict[str, str]
    held_out: tuple[str, ...]

    def ask(self, dice: Random) -> tuple[str, str]:
        """A question and the honest answer to it."""
        if dice.random() < 0.45:
            return sentence(dice.choice(FORMS).format(x=self._name(dice))), self.answers["plain"]
        kind, form = dice.choice(self.forms)
        question = re.sub(r"\{([a-z]+)2?\}", lambda slot: dice.choice(self.words[slot[1]]), form)
        return sentence(question), self.answers[kind]

    def _name(self, dice: Random) -> str:
        roll = dice.random()
        if roll < 0.15:
            made_up = "".join(dice.choice(SYLLABLES) for _ in range(dice.randrange(2, 5)))
            return f"{dice.choice(('a ', 'the ', '', ''))}{made_up}"
        slot = next((slot for below, slot in NAME_SLOTS if roll < below), "thing")
        return dice.choice(self.words[slot])


def load() -> Unknown:
    """Reads the file. Raises ValueError on a line of unknown kind or a slot without words."""
    words: dict[str, tuple[str, ...]] = {}
    forms: list[tuple[str, str]] = []
    answers: dict[str, str] = {}
    held_out: list[str] = []
    for line in FILE.read_text("utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        head, _, tail = rest.partition(" ")
        if mark == "=":
            forms.append((head, tail))
        elif mark == ">":
            answers[head] = tail
        elif mark == "!":
            held_out.append(rest)
        elif mark.startswith("@"):
            words[mark[1:]] = words.get(mark[1:], ()) + tuple(rest.split(", "))
        elif mark and not mark.startswith("#"):
            raise ValueError(f"unknown.txt: a line starts with =, >, !, @slot or #, got {line!r}")
    missing = {slot for _, form in forms for slot in re.findall(r"\{([a-z]+)2?\}", form)} - words.keys()
    if missing or not {kind for kind, _ in forms} <= answers.keys():
        raise ValueError(f"unknown.txt: no words for {sorted(missing)}, or a kind without an answer")
    return Unknown(words, tuple(forms), answers, tuple(held_out))
