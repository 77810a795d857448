"""Finds the calls of tools in an answer that comes in pieces (pure).

What turns out not to be a call is text, all of it; what was told as a call stays one (`callreader.py`). Blanks beside a
call are dropped, those within text are not. How the text was cut into pieces changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.detokenizer.callreader import CallReader
from services.detokenizer.parts import Arguments, Call, Content, Part
from services.detokenizer.seek import BLANKS, Expect, Seeker


@dataclass(frozen=True, slots=True)
class Form:
    """How a family of models writes calls."""

    open: str  # the mark before a call
    close: str  # the mark behind it; none: a bare object that begins the answer is a call too, and more may follow it
    between: str  # what may stand behind a call, before that


FORMS: Mapping[str, Form] = {
    "hermes": Form("<tool_call>", "</tool_call>", BLANKS + "}"),  # small models write a brace too many
    "llama3": Form("<|python_tag|>", "", BLANKS + ";"),
}


class ToolCalls:
    """Of one answer. Without `parallel` it is `full` once a call has ended, and takes nothing more."""

    def __init__(self, form: str, parallel: bool = True) -> None:
        self._form = FORMS[form]
        self._parallel = parallel
        self.told = 0  # calls
        self.full = False
        self._parts: list[Part] = []  # what this piece made known
        self._seeker = Seeker(self._form.open)
        self._reader = CallReader()
        self._raw: list[str] = []  # of what may become a call
        self._certain = False  # it is one
        self._bare = False  # nothing but blanks has followed the last call
        self._gap = Expect("{", BLANKS)
        self._state: Callable[[ToolCalls, str], str] = ToolCalls._text if self._form.close else ToolCalls._between

    def push(self, piece: str) -> list[Part]:
        """What can be told now and could not before."""
        while piece and not self.full:
            piece = self._state(self, piece)
        parts, self._parts = self._parts, []
        return parts

    def flush(self) -> list[Part]:
        """Nothing follows. What was held back is text, but for what stands beside calls."""
        held = "".join(self._raw) + self._seeker.flush() + ("" if self.told else self._gap.flush())
        if not (self._bare and held.isspace()):
            self._say(held)
        self._raw = []
        return self.push("")

    # ---- states: each takes of the piece what it can, and returns the rest
    def _text(self, piece: str) -> str:
        before, gap, rest = self._seeker.push(piece)
        self._say(before)
        if rest is not None:
            self._begin(gap + self._form.open)
        return rest or ""

    def _between(self, piece: str) -> str:
        """Before the first call, or behind one: waits for the mark that closes it, or for the next object."""
        found, rest = self._gap.push(piece)
        if found is None:
            return ""
        self._state = ToolCalls._text
        if found and not self._form.close:
            self._begin(self._gap.flush())
            self._reader.push("{")
        return rest

    def _call(self, piece: str) -> str:
        end = self._reader.push(piece)
        if not self._certain:
            self._raw.append(piece[:end])
            self._decide()
        if self._certain:
            self._tell_more()
        return piece[end:]

    # ---- what they do
    def _say(self, text: str) -> None:
        if text:
            self._bare = False
            self._parts.append(Content(text))

    def _begin(self, raw: str) -> None:
        self._reader, self._raw, self._certain = CallReader(), [raw], False
        self._state = ToolCalls._call

    def _decide(self) -> None:
        """Is it a call? Between its marks a name is enough."""
        reader = self._reader
        if reader.begun or (reader.complete and self._form.close):
            self._certain, self._raw = True, []
            self._parts.append(Call(self.told, reader.name))
            self.told += 1
        elif reader.over:
            self._say("".join(self._raw))
            self._raw, self._state = [], ToolCalls._text

    def _tell_more(self) -> None:
        reader, form = self._reader, self._form
        arguments = reader.arguments() if reader.begun else "{}"
        if arguments:
            self._parts.append(Arguments(self.told - 1, arguments))
        if reader.over:
            self.full, self._bare = not self._parallel, True
            self._gap, self._state = Expect(form.close or "{", form.between), ToolCalls._between
