"""One choice of a client's request: the tokens accepted so far and the text that each of them made readable.

The text is a function of the tokens alone, so a session that is built again from the bus, from an outcome or by another
process shows the same, and "all after token k" can be rendered at any time.
"""

from array import array
from collections.abc import Iterable
from dataclasses import replace

from services.detokenizer.answer import Answer, marks
from services.detokenizer.decode import Decoder, Vocabulary
from services.detokenizer.stops import StopFinder
from shared.bus import Entry, StreamId
from shared.messages import PROMPT_TAIL, GenerateRequest, Outcome
from shared.types import FinishReason

SHOWN = {  # OpenAI's clients know no word for a cancel
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CANCEL: "stop",
}


class Session:
    """`entry` is where the request lies, None when only its outcome is known. `attempt` is bound to `executor`, whose
    `Started` is at `started`; None when no `Started` of this attempt was read yet (PROTOCOL 8)."""

    def __init__(self, request: GenerateRequest, vocabulary: Vocabulary, entry: Entry | None) -> None:
        self.request = replace(request, prompt=request.prompt[-PROMPT_TAIL:], output=())
        self.entry = entry
        self.attempt = request.attempt
        self.executor: str | None = None
        self.started: StreamId | None = None
        self.ids = array("q")
        self.pieces: list[str] = []  # of each token: what can be shown once it is accepted, and could not before
        self.tail = ""  # what the end lets go
        self.end: FinishReason | None = None
        self.detail = ""
        self.settled = False
        self.adrift = False  # the bus was started anew: its entry is of an older attempt, and to be queued again
        prompt, render, markup = self.request.prompt, request.render, request.render.markup
        self._decoder = Decoder(vocabulary, prompt, render.skip_special_tokens, marks(markup) if markup else ())
        self._stops = StopFinder(render.stop)
        self.answer = Answer(markup, vocabulary.text(prompt)) if markup else None  # None: all of it is text
        self.accept(request.output)

    def accept(self, ids: Iterable[int]) -> None:
        """Take the next tokens; a stop string among them, or the only call that is wanted, ends the session, and the
        rest counts for nothing."""
        sampling = self.request.sampling
        for token in ids:
            if self.end:
                return
            index = len(self.ids)
            self.ids.append(token)
            piece, found = "", False
            if not sampling.stops_at(token, index):  # its text is not shown, and `Finished` will follow
                piece, found = self._stops.push(self._decoder.push(token), index >= sampling.min_tokens)
            self.pieces.append(piece)
            if self.answer:
                self.answer.accept(piece)
                found = found or self.answer.full
            if found:
                self.end = FinishReason.STOP
                if self.answer:
                    self.answer.finish()

    def finish(self, reason: FinishReason, detail: str) -> None:
        """The engine has ended it. An answer that is complete lets go what was held back, up to a stop string in it."""
        if self.end:
            return
        self.end, self.detail = reason, detail
        if reason in (FinishReason.STOP, FinishReason.LENGTH):
            armed = len(self.ids) > self.request.sampling.min_tokens
            text, found = self._stops.push(self._decoder.flush(), armed)
            self.tail = text + self._stops.flush()
            self.end = FinishReason.STOP if found else reason
            if self.answer:
                self.answer.finish(self.tail)

    def release(self, attempt: int) -> None:
        """The request is queued again as this attempt, and belongs to nobody until its `Started`."""
        self.attempt, self.executor, self.started, self.entry, self.adrift = attempt, None, None, None, False

    def text_after(self, offset: int) -> str:
        """What is readable now and was not when `offset` tokens had been accepted; the tail apart."""
        new = self.pieces[offset:]
        return new[0] if len(new) == 1 else "".join(new)

    @property
    def finish_reason(self) -> str | None:
        """The end in OpenAI's words; None if it has not come, or they have none for it."""
        if self.answer and self.answer.calls and self.end is FinishReason.STOP:
            return "tool_calls"
        return SHOWN.get(self.end) if self.end else None

    @property
    def text(self) -> str:
        return "".join(self.pieces) + self.tail

    def outcome(self) -> Outcome:
        """Only for a session that has ended."""
        assert self.end is not None
        return Outcome(replace(self.request, output=tuple(self.ids)), self.end, self.text, self.detail)
