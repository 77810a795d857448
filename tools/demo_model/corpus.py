"""The corpus: every question with its one answer, split into trained and held out, and the documents made of them.

`questions()` is the fixed set; `documents(seed)` is an endless, deterministic stream of chats, stories and plain texts
drawn from it. A held-out question never appears in a document, also not in another spelling.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal
from zlib import crc32

from tools.demo_model import arithmetic, facts, phrasing, stories, unknown
from tools.demo_model.document import Document, Turn, chat

Split = Literal["train", "form and name", "form", "wording", "sum"]
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a concise assistant.",
    "You are the Sluice demo model.",
    "Answer briefly.",
    "You are a friendly assistant. Answer in English.",
    "Answer the user's questions as well as you can.",
    "Be polite and short.",
    "You answer questions about LLM serving.",
    "You are a test assistant.",
    "You are an expert for inference servers. If you do not know something, say so.",
)
ROUNDS = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
LONG_CHAT = 14  # rounds, at most
SUM = -1


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer, and whether it is trained on or what is new in it to the model."""

    text: str
    answer: str
    split: Split
    fact: int  # number of the fact, or SUM


def questions() -> list[Question]:
    """All known questions, each once by `phrasing.normal`: what was written by hand wins over what a form made."""
    known = list(enumerate(facts.load()))
    asked: dict[str, Question] = {}

    def add(text: str, answer: str, split: Split, fact: int) -> None:
        asked.setdefault(phrasing.normal(text), Question(text, answer, split, fact))

    for number, fact in known:
        for text in fact.questions:
            add(text, fact.answer, "train", number)
        for text in fact.held_out:
            add(text, fact.answer, "wording", number)
    for number, fact in known:
        for text in _filled(fact, phrasing.FORMS, phrasing.PLURAL_FORMS):
            add(text, fact.answer, "form and name" if _chance(text, 12) else "train", number)
        for text in _filled(fact, phrasing.HELD_OUT_FORMS, phrasing.HELD_OUT_FORMS):
            add(text, fact.answer, "form", number)
    for text, answer in arithmetic.sums():
        add(text, answer, "sum" if _chance(text, 10) else "train", SUM)
    return list(asked.values())


@dataclass(frozen=True, slots=True)
class Mix:
    """How questions are drawn: chances between 0 and 1."""

    by_hand: float = 0.0  # that a fact is asked for by a question written by hand; 0: any of its questions alike
    loosened: float = 0.0  # that a question without numbers is put in looser words


def documents(seed: int, mix: Mix | None = None) -> Iterator[Document]:
    """An endless stream of training documents; the same seed and mix give the same stream."""
    return _Writer(questions(), mix or Mix(), Random(seed)).stream()


def _chance(text: str, one_in: int) -> bool:
    """The same for the same text, whatever the seed: what is held out stays held out."""
    return crc32(text.encode()) % one_in == 0


def _filled(fact: facts.Fact, singular: tuple[str, ...], plural: tuple[str, ...]) -> list[str]:
    found = [text for name in fact.names for text in phrasing.questions_about(name, singular)]
    return found + [text for name in fact.plurals for text in phrasing.questions_about(name, plural)]


class _Writer:
    """Draws documents with its own dice."""

    def __init__(self, known: list[Question], mix: Mix, dice: Random) -> None:
        trained = [question for question in known if question.split == "train"]
        by_fact: dict[int, list[Question]] = {}
        for question in trained:
            by_fact.setdefault(question.fact, []).append(question)
        self._sums = by_fact.pop(SUM)
        self._facts = list(by_fact.values())
        written = {phrasing.normal(text) for fact in facts.load() for text in fact.questions}
        by_hand = ([asked for asked in fact if phrasing.normal(asked.text) in written] for fact in self._facts)
        self._by_hand = [questions for questions in by_hand if questions]
        self._mix = mix
        self._held_out = {phrasing.normal(question.text) for question in known if question.split != "train"}
        self._unknown = unknown.load()
        self._dice = dice

    def stream(self) -> Iterator[Document]:
        while True:
            roll = self._dice.random()
            if roll < 0.03:
                yield Document((Turn("text", stories.story(self._dice, self._dice.choice(stories.HEROES))),))
            elif roll < 0.06:
                yield Document((Turn("text", self._dice.choice(self._dice.choice(self._facts)).answer),))
            else:
                rounds = self._dice.randrange(4, LONG_CHAT) if roll < 0.09 else self._dice.choice(ROUNDS)
                system = self._dice.choice(SYSTEM_PROMPTS) if self._dice.random() < 0.3 else None
                yield chat(*(self._round() for _ in range(rounds)), system=system)

    def _round(self) -> tuple[str, str]:
        """One question and its answer; drawn again if untidiness made it equal to a held-out one."""
        while True:
            question, answer = self._draw()
            if self._happens(self._mix.loosened) and not any(letter.isdigit() for letter in question):
                question = phrasing.loosened(question, self._dice)
            question = phrasing.untidy(question, self._dice)
            if phrasing.normal(question) not in self._held_out:
                return question, answer

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._dice.random() < chance

    def _draw(self) -> tuple[str, str]:
        roll = self._dice.random()
        if roll < 0.54:
            facts_to_ask = self._by_hand if self._happens(self._mix.by_hand) else self._facts
            known = self._dice.choice(self._dice.choice(facts_to_ask))
        elif roll < 0.72:
            known = self._dice.choice(self._sums)
        elif roll < 0.76:
            return stories.asked(self._dice)
        elif roll < 0.79:
            return arithmetic.too_large(self._dice)
        else:
            return self._unknown.ask(self._dice)
        return known.text, known.answer
