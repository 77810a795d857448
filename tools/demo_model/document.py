"""What the model is trained on: documents made of turns, and the ChatML text that a turn becomes.

Rule: the text of a document is exactly what the chat template of `models/demo` renders for the same messages.
"""

from dataclasses import dataclass
from typing import Literal

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)

Role = Literal["system", "user", "assistant", "text"]

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('unknown role: ' + message.role) }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; the role `text` is for plain documents that are no chat."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A chat (system?, user, assistant, ...) or one `text` turn."""

    turns: tuple[Turn, ...]

    def pieces(self) -> list[tuple[str, bool]]:
        """The text in order, cut into (piece, whether the model learns to write it). Ends with an end token."""
        pieces: list[tuple[str, bool]] = []
        for number, turn in enumerate(self.turns):
            if turn.role == "text":
                pieces.append((turn.text + END_OF_TEXT, True))
                continue
            pieces.append((("\n" if number else "") + f"{TURN_START}{turn.role}\n", False))
            pieces.append((turn.text + TURN_END, turn.role == "assistant"))
        return pieces

    def text(self) -> str:
        """The whole document as one string."""
        return "".join(piece for piece, _ in self.pieces())

    def questions(self) -> list[str]:
        """What the user says in it."""
        return [turn.text for turn in self.turns if turn.role == "user"]


def chat(*messages: tuple[str, str], system: str | None = None) -> Document:
    """A chat of (question, answer) rounds, after an optional system prompt."""
    turns = [Turn("system", system)] if system else []
    for question, answer in messages:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return Document(tuple(turns))
