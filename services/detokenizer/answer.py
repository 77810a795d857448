"""A chat's answer taken apart: what is thought, what is said, which tools are called (pure).

The parts of each token are kept, as a session keeps the text of each: "all after token k" can be told at any time.
"""

from collections.abc import Sequence
from itertools import chain

from services.detokenizer.parts import Content, Part, Reasoning
from services.detokenizer.reasoning import CLOSE, OPEN, Thinking
from services.detokenizer.toolcalls import FORMS, ToolCalls
from shared.messages import Markup


def marks(markup: Markup) -> tuple[str, ...]:
    """The words of this markup, which some vocabularies have as special tokens."""
    thinking = (OPEN, CLOSE) if markup.reasoning == "think" else ()
    form = FORMS.get(markup.tools)
    return thinking if form is None else (*thinking, form.open, form.close)


class Answer:
    """Of one choice. `prompt_end` is the text that the answer follows."""

    def __init__(self, markup: Markup, prompt_end: str) -> None:
        opened = markup.thinking or prompt_end.rstrip().endswith(OPEN)
        self._thinking = Thinking(opened) if markup.reasoning == "think" else None
        self._calls = None if markup.tools == "none" else ToolCalls(markup.tools, markup.parallel)
        self._shows_reasoning = markup.show_reasoning
        self._parts: list[Sequence[Part]] = []  # of each token: what can be told once it is accepted
        self.tail: Sequence[Part] = ()  # what the end lets go
        self.reasoning_tokens = 0  # up to the one that ends the thought

    @property
    def calls(self) -> int:
        """How many have been told."""
        return self._calls.told if self._calls else 0

    @property
    def full(self) -> bool:
        """It ends here, whatever follows."""
        return self._calls is not None and self._calls.full

    def accept(self, piece: str) -> None:
        """The text that the next token made readable."""
        before = self._active
        self._parts.append(tuple(self._take(piece)) if piece else ())
        self.reasoning_tokens += before or self._active

    def finish(self, piece: str = "") -> None:
        """The text that the end lets go; nothing follows."""
        parts = self._take(piece)
        if self._thinking:
            parts += self._tell(*self._thinking.flush())
        if self._calls:
            parts += self._calls.flush()
        self.tail = tuple(parts)

    def after(self, offset: int) -> Sequence[Part]:
        """What can be told now and could not when `offset` tokens had been accepted; the tail apart."""
        return tuple(chain.from_iterable(self._parts[offset:]))

    @property
    def parts(self) -> Sequence[Part]:
        return (*self.after(0), *self.tail)

    @property
    def _active(self) -> bool:
        return self._thinking is not None and self._thinking.active

    def _take(self, piece: str) -> list[Part]:
        return self._tell(*self._thinking.push(piece)) if self._thinking else self._tell("", piece)

    def _tell(self, thought: str, said: str) -> list[Part]:
        parts: list[Part] = [Reasoning(thought)] if thought and self._shows_reasoning else []
        if self._calls:
            return parts + self._calls.push(said)
        return [*parts, Content(said)] if said else parts
