"""One choice of a client's request: the tokens accepted so far and the text that each of them made readable.

The text is a function of the tokens alone, so a session that is built again from the bus, from an outcome or by another
process shows the same, and "all after token k" can be rendered at any time.
"""

from array import array
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TypedDict

from services.detokenizer.answer import Answer, marks
from services.detokenizer.decode import Decoder, Vocabulary
from services.detokenizer.echo import Echo
from services.detokenizer.scores import UNKNOWN, Scores
from services.detokenizer.stops import StopFinder
from shared.bus import Entry, StreamId
from shared.messages import PROMPT_TAIL, GenerateRequest, Outcome
from shared.types import FinishReason, Score, TokenIds

SHOWN = {  # OpenAI's clients know no word for a cancel
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CANCEL: "stop",
}


class Progress(TypedDict):
    output: TokenIds
    scores: tuple[Score, ...]
    prompt_scores: tuple[Score, ...]
    cached: int


class Session:
    """`entry` is where the request lies, None when only its outcome is known. `attempt` is bound to `executor`, whose
    `Started` is at `started`; None when no `Started` of this attempt was read yet (PROTOCOL 8)."""

    def __init__(self, request: GenerateRequest, vocabulary: Vocabulary, entry: Entry | None) -> None:
        self.request = replace(request.unanswered, prompt=request.shown_prompt)
        self.entry = entry
        self.attempt = request.attempt
        self.executor: str | None = None
        self.started: StreamId | None = None
        self.cached = request.cached
        self.ids = array("q")
        self.pieces: list[str] = []  # of each token: what can be shown once it is accepted, and could not before
        self.tail = ""  # what the end lets go
        self.end: FinishReason | None = None
        self.detail = ""
        self.settled = False
        self.adrift = False  # the bus was started anew: its entry is of an older attempt, and to be queued again
        prompt, render, markup = request.prompt[-PROMPT_TAIL:], request.render, request.render.markup
        self._decoder = Decoder(vocabulary, prompt, render.skip_special_tokens, marks(markup) if markup else ())
        self._stops = StopFinder(render.stop, shown=render.include_stop) if any(render.stop) else None
        self.answer = Answer(markup, vocabulary.text(prompt)) if markup else None  # None: all of it is text
        self.vocabulary = vocabulary
        self.scores = Scores() if self.request.sampling.logprobs >= 0 else None
        self._read = self._shown = 0  # characters: of the tokens' text, and of that which may be shown
        self.echo = Echo(self.request, vocabulary) if render.echo else None
        self._last = frozenset(() if render.include_stop else request.sampling.stop_ids)  # they are not shown
        scored = request.sampling.logprobs >= 0 or request.sampling.prompt_logprobs >= 0
        self._plain = not (scored or self._stops or self.answer)
        self.catch_up(request)

    def catch_up(self, request: GenerateRequest) -> None:
        """Take what of its output this request has, which comes from elsewhere, and this session has not."""
        known = len(self.ids)
        self.accept(request.output[known:], request.scores[known:], request.prompt_scores)

    def accept(self, ids: Sequence[int], scores: Sequence[Score] = (), prompt_scores: tuple[Score, ...] = ()) -> None:
        """Take the next tokens; a stop string among them, or the only call that is wanted, ends the session, and the
        rest counts for nothing. The prompt's scores come with the first token."""
        if self._plain and not self.end:
            self._extend(ids)
            return
        if prompt_scores and not self.ids:
            self.request = replace(self.request, prompt_scores=prompt_scores)
        for token, score in zip_longest(ids, scores[: len(ids)]):
            if self.end:
                return
            self._accept(token, score or UNKNOWN)

    def _extend(self, ids: Sequence[int]) -> None:
        """The same where all that a token brings is its text, as with nearly every token of all."""
        for token in ids:
            hidden = token in self._last and self.request.sampling.stops_at(token, len(self.ids))
            self.ids.append(token)
            self.pieces.append("" if hidden else self._decoder.push(token))

    def _accept(self, token: int, score: Score) -> None:
        sampling, index, start = self.request.sampling, len(self.ids), self._read
        self.ids.append(token)
        piece, cut = "", False
        hidden = token in self._last and sampling.stops_at(token, index)
        if not hidden:  # else `Finished` will follow
            text = self._decoder.push(token)
            self._read += len(text)
            piece, cut = self._stops.push(text, index >= sampling.min_tokens) if self._stops else (text, False)
        self.pieces.append(piece)
        self._shown += len(piece)
        if self.scores is not None:
            self.scores.accept(score, start, self._shown)
        if self.answer:
            self.answer.accept(piece)
        if cut or (self.answer and self.answer.full):
            self.end = FinishReason.STOP
            self._finish_parts(cut=cut)

    def finish(self, reason: FinishReason, detail: str) -> None:
        """The engine has ended it. An answer that is complete lets go what was held back, up to a stop string in it."""
        if self.end:
            return
        self.end, self.detail = reason, detail
        if reason in (FinishReason.STOP, FinishReason.LENGTH):
            self.tail, found = self._decoder.flush(), False
            if self._stops:
                text, found = self._stops.push(self.tail, len(self.ids) > self.request.sampling.min_tokens)
                self.tail = text + self._stops.flush()
            self.end = FinishReason.STOP if found else reason
            self._shown += len(self.tail)
            self._finish_parts(self.tail, cut=found)

    def _finish_parts(self, tail: str = "", *, cut: bool) -> None:
        """`cut`: a stop string has ended it."""
        if self.answer:
            self.answer.finish(tail)
        if self.scores is not None:
            stops = bool(self.ids) and self.request.sampling.stops_at(self.ids[-1], len(self.ids) - 1)
            self.scores.finish(self._shown, cut, hidden=int(stops and not self.request.render.include_stop))

    def release(self, attempt: int) -> None:
        """The request is queued again as this attempt, and belongs to nobody until its `Started`."""
        self.attempt, self.executor, self.started, self.entry, self.adrift = attempt, None, None, None, False

    def text_after(self, offset: int) -> str:
        """What is readable now and was not when `offset` tokens had been accepted; the tail apart."""
        pieces = self.pieces
        return pieces[-1] if offset == len(pieces) - 1 else "".join(pieces[offset:])

    @property
    def finish_reason(self) -> str | None:
        """The end in OpenAI's words; None if it has not come, or they have none for it."""
        if self.answer and self.answer.calls and self.end is FinishReason.STOP:
            return "tool_calls"
        return SHOWN.get(self.end) if self.end else None

    @property
    def text(self) -> str:
        return "".join(self.pieces) + self.tail

    @property
    def so_far(self) -> GenerateRequest:
        """The request with all that was accepted, and what its answer shows of the prompt."""
        return replace(self.request, **self.progress)

    @property
    def progress(self) -> Progress:
        """What of a request changes as it goes on."""
        scores = self.scores.all if self.scores is not None else ()
        told = self.request.prompt_scores
        return {"output": tuple(self.ids), "scores": scores, "prompt_scores": told, "cached": self.cached}

    def outcome(self) -> Outcome:
        """Only for a session that has ended."""
        assert self.end is not None
        return Outcome(self.so_far, self.end, self.text, self.detail)
