"""All that a client has not seen yet as one `Frame`: SSE text, or a whole JSON body (pure).

A cursor holds one offset for each choice, joined by commas: how many of its tokens have been told, one more once its
end was told, and nothing at all (`-1` here) before its role chunk, or its prompt. "" means nothing for all of them.
Usage and `[DONE]` follow behind the last end and bear no offset of their own: who resumes there gets them (again).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from services.detokenizer.chunks import Chunks, Usage
from services.detokenizer.session import Session
from shared.errors import ClientError, DeadlineExceeded, SluiceError
from shared.frames import Frame
from shared.messages import RenderSpec
from shared.types import FinishReason, ParentId

CLIENT_CLOSED = 499  # nginx's status: nobody is there to read it
DONE = "data: [DONE]\n\n"


@dataclass(slots=True)
class Group:
    """All choices of one client request."""

    parent: ParentId
    spec: RenderSpec
    choices: list[Session | None]  # None: not started, as far as this process knows
    chunks: Chunks = field(init=False)
    settled_s: float | None = None  # when all of it was settled
    plain: bool = field(init=False)  # a stream of one choice's text, and nothing else before its end
    told: tuple[str, int] = ("", 0)  # the newest cursor that was written of a plain one, and its offset

    def __post_init__(self) -> None:
        spec = self.spec
        self.chunks = Chunks(self.parent, spec)
        other = spec.markup or spec.echo or spec.continuous_usage
        self.plain = spec.stream and spec.choices == 1 and not other

    @property
    def started(self) -> list[Session]:
        return [choice for choice in self.choices if choice is not None]

    def spent(self, offsets: Sequence[int]) -> Usage | None:
        """What was used when the client stood there; None unless every chunk has to say so."""
        if not self.spec.continuous_usage:
            return None
        told = zip(offsets, self.choices, strict=True)
        tokens = sum(min(max(offset, 0), len(choice.ids)) for offset, choice in told if choice)
        return self.chunks.spent(tokens, self.started)

    def ended_by(self, reason: FinishReason) -> Session | None:
        for choice in self.choices:  # asked for each token, where a generator costs more than what it looks at
            if choice is not None and choice.end is reason:
                return choice
        return None

    @property
    def ended(self) -> bool:
        return all([choice is not None and choice.end is not None for choice in self.choices])  # a list: see ended_by


class _Pen:
    """Writes events and keeps where the client stands behind each of them."""

    __slots__ = ("_spent", "cursor", "events", "offsets")

    def __init__(self, cursor: str, offsets: list[int], spent: Callable[[Sequence[int]], Usage | None]) -> None:
        self._spent = spent
        self.cursor = cursor  # behind the last event
        self.offsets = offsets
        self.events: list[str] = []

    def go(self, index: int, offset: int) -> Usage | None:
        """The client stands there behind the next event. Returns what has been used by then, if that is to be said."""
        self.offsets[index] = offset
        return self._spent(self.offsets)

    def write(self, data: str) -> None:
        self.cursor = ",".join([str(offset) if offset >= 0 else "" for offset in self.offsets])
        self.events.append(f"id: {self.cursor}\ndata: {data}\n\n")


def render(group: Group, cursor: str) -> Frame | None:
    """What follows the cursor; None if that is nothing yet. A cursor that cannot be ours is answered with an error."""
    if group.plain and cursor and (choice := group.choices[0]) and choice.end is None:
        written, offset = group.told
        if cursor == written:
            return _text(group, choice, cursor, offset)
        if _is_offset(cursor):
            return _text(group, choice, cursor, int(cursor))
    failed = group.ended_by(FinishReason.ERROR) or group.ended_by(FinishReason.TIMEOUT)
    if failed and (not cursor or not group.spec.stream):
        return refusal(group.parent, _error(failed))
    if not group.spec.stream:
        return _body(group, cursor)
    offsets = _parse(cursor, group)
    if offsets is None:
        wrong = ClientError(f"{cursor!r} is not the id of an event of this stream", param="Last-Event-ID")
        return refusal(group.parent, wrong)
    return _stream(group, cursor, offsets, failed)


def refusal(parent: ParentId, error: SluiceError) -> Frame:
    """The first and only frame of a request that has no answer."""
    return Frame(parent, "", orjson.dumps(error.body()).decode(), status=error.status, last=True)


def _error(failed: Session) -> SluiceError:
    if failed.end is FinishReason.TIMEOUT:
        return DeadlineExceeded("the request's time was over before its answer was complete")
    return SluiceError(failed.detail or "the request failed")


def _body(group: Group, after: str) -> Frame | None:
    if group.ended_by(FinishReason.CANCEL):
        return Frame(group.parent, "", "", status=CLIENT_CLOSED, last=True)
    if not group.ended:
        return None
    choices = group.started
    cursor = ",".join(str(len(choice.ids) + 1) for choice in choices)
    return Frame(group.parent, cursor, group.chunks.body(choices), last=True, after=after)


def _stream(group: Group, cursor: str, offsets: list[int], failed: Session | None) -> Frame | None:
    pen = _Pen(cursor, offsets, group.spent)
    for index, choice in enumerate(group.choices):
        if choice is not None:
            _tell(group, pen, index, choice)
    if failed:
        pen.events.append(f"data: {orjson.dumps(_error(failed).body()).decode()}\n\n")
    ended = group.ended
    if ended and not failed:
        if group.spec.include_usage:
            pen.write(group.chunks.usage(group.started))
        pen.events.append(DONE)
    last = ended or failed is not None
    if not pen.events and not last:
        return None
    return Frame(group.parent, pen.cursor, "".join(pen.events), last=last, after=cursor)


def _text(group: Group, choice: Session, after: str, told: int) -> Frame | None:
    """The same of a plain group that goes on: it is asked for with each token, and nearly nothing of it can differ."""
    if not (text := choice.text_after(told)):
        return None
    accepted = len(choice.ids)
    group.told = cursor, _ = str(accepted), accepted
    data = f"id: {cursor}\ndata: {group.chunks.text(choice, text, told)}\n\n"
    return Frame(group.parent, cursor, data, 200, False, after)


def _tell(group: Group, pen: _Pen, index: int, choice: Session) -> None:
    """Text or parts and end of one choice, as far as they are new; the first news of any brings all the role chunks."""
    told, accepted = pen.offsets[index], len(choice.ids)
    text = "" if choice.answer else choice.text_after(max(told, 0))
    parts = choice.answer.after(max(told, 0)) if choice.answer else ()
    ends = choice.finish_reason is not None and told <= accepted
    if not (text or parts or ends):
        return
    chunks = group.chunks
    if choice.echo and told < 0:
        pen.write(chunks.echo(choice, pen.go(index, 0)))
    elif -1 in pen.offsets and not choice.echo:
        for other, offset in enumerate(pen.offsets):
            if offset < 0:
                pen.write(chunks.role(other, pen.go(other, 0)))
    if text:
        pen.write(chunks.text(choice, text, max(told, 0), pen.go(index, accepted)))
    if parts:
        pen.write(chunks.parts(choice, parts, max(told, 0), pen.go(index, accepted)))
    if ends:
        pen.write(chunks.final(choice, pen.go(index, accepted + 1)))


def _parse(cursor: str, group: Group) -> list[int] | None:
    """The offsets; None if they cannot be those of this group."""
    first = -1 if group.spec.kind == "chat" or group.spec.echo else 0  # nor roles nor prompts stand before the others
    if not cursor:
        return [first] * len(group.choices)
    parts = cursor.split(",")
    if len(parts) != len(group.choices):
        return None
    offsets: list[int] = []
    for part, choice in zip(parts, group.choices, strict=True):
        if not _is_offset(part):
            return None
        offsets.append(int(part) if part else first)
        if choice is not None and choice.end and offsets[-1] > len(choice.ids) + 1:
            return None
    return offsets


def _is_offset(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 10)
