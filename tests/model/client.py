"""A caller that keeps what it has, comes back after a broken connection, and checks all that it is told."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from services.gateway.fanout import shard_of
from shared.frames import Frame
from shared.messages import GenerateRequest, RenderSpec
from shared.types import LANES, FinishReason, ParentId, SamplingParams, TokenIds, request_id
from tests.fakes import continuation
from tests.model.programs import tokens_of, word
from tests.model.server import Violation
from tests.model.worker import MAX_MODEL_LEN, POISON, VOCABULARY_SIZE, drawn, next_tokens

CANCELLED = 499


@dataclass(eq=False)
class Client:
    """One call. `cards` is how many kinds of engines there are."""

    parent: ParentId
    requests: tuple[GenerateRequest, ...]
    cards: int
    tried: bool = False  # to submit
    submitted: bool = False
    asked: bool = False  # it has cancelled
    heard_s: float = 0.0  # when the bus has heard of that
    may_fail: bool = False  # it is poison, or the bus has forgotten it
    cursor: str = ""
    ended: str = ""
    texts: list[str] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        self.texts = [""] * len(self.requests)
        self.finishes = [""] * len(self.requests)

    @property
    def poison(self) -> bool:
        return self.requests[0].prompt[0] == POISON

    def as_of(self, gateway: str) -> tuple[GenerateRequest, ...]:
        """The requests as that gateway writes them."""
        return tuple(replace(request, gateway=gateway) for request in self.requests)

    # ---- what it is told
    def receive(self, frame: Frame) -> None:
        """Raises Violation for anything that a calm run could not have shown."""
        if self.ended:
            raise Violation(f"{self.parent} hears more after its end: {frame}")
        if frame.status != 200:
            return self._refused(frame)
        if frame.after != self.cursor:
            raise Violation(f"{self.parent} stands at {self.cursor!r} and is told what follows {frame.after!r}")
        self.cursor = frame.cursor
        if self.requests[0].render.stream:
            self._stream(frame)
        else:
            self._whole(orjson.loads(frame.data))

    def _refused(self, frame: Frame) -> None:
        self.ended = f"status {frame.status}"
        if frame.status == CANCELLED and self.asked:
            return
        if not self.may_fail:
            raise Violation(f"{self.parent} is refused: {frame.status} {frame.data}")

    def _stream(self, frame: Frame) -> None:
        done = False
        for event in frame.data.split("\n\n")[:-1]:
            data = event.rpartition("data: ")[2]
            if done:
                raise Violation(f"{self.parent} hears {data} after [DONE]")
            if data == "[DONE]":
                done = True
                continue
            body = orjson.loads(data)
            if "error" in body:
                self._failed(body)
                return
            for choice in body["choices"]:
                self._told(choice["index"], choice["delta"].get("content", ""), choice["finish_reason"])
        if frame.last:
            self._end(done)

    def _whole(self, body: Any) -> None:
        if "error" in body:
            return self._failed(body)
        for choice in body["choices"]:
            self._told(choice["index"], choice["message"]["content"], choice["finish_reason"])
        self._end(True)

    def _failed(self, body: Any) -> None:
        if not self.may_fail:
            raise Violation(f"{self.parent} failed: {body}")
        self.ended = "error"

    def _told(self, index: int, text: str, finish: str | None) -> None:
        if self.finishes[index] and (text or finish):
            raise Violation(f"{self.parent}.{index} goes on after its end: {text!r} {finish}")
        self.texts[index] += text
        self.finishes[index] = finish or ""
        request = self.requests[index]
        check_text(request, self.texts[index], self.cards)
        if finish and not self.asked:
            check_end(request, self.texts[index], finish, self.cards)

    def _end(self, done: bool) -> None:
        self.ended = "done" if done else "cancelled"
        if not done and not self.asked:
            raise Violation(f"{self.parent} was cancelled by nobody")
        if done and not all(self.finishes):
            raise Violation(f"{self.parent} is done, but not all of it has ended: {self.finishes}")


def check_text(request: GenerateRequest, text: str, cards: int) -> None:
    """Is each token one that follows from all that was shown before it?"""
    try:
        shown = tokens_of(text)
    except ValueError as error:
        raise Violation(f"{request.id}: {error}") from None
    for position, token in enumerate(shown):
        right = next_tokens(request.prompt + shown[:position], request.sampling, cards)
        if token not in right:
            raise Violation(f"{request.id} shows {token} at {position}, not one of {right}: {text}")


def check_end(request: GenerateRequest, text: str, finish: str, cards: int) -> None:
    """With one kind of card the whole answer is known beforehand; else its length is."""
    shown = tokens_of(text)
    if cards > 1:
        right = finish == FinishReason.LENGTH and len(shown) == request.sampling.max_tokens
    else:
        right = (text, finish) == calm(request)
    if not right:
        raise Violation(f"{request.id} ends by {finish} after {text!r}")


def calm(request: GenerateRequest) -> tuple[str, str]:
    """Text and finish of an undisturbed run on card 0."""
    ids, finish = continuation(request.prompt, drawn(request.sampling, 0), VOCABULARY_SIZE, MAX_MODEL_LEN)
    if finish is FinishReason.STOP:
        ids = ids[:-1]  # the text of a stop id is not shown
    text = "".join(map(word, ids))
    for stop in request.render.stop:
        if (start := text.find(stop)) >= 0:
            return text[:start], FinishReason.STOP
    return text, finish


def make_client(
    dice: random.Random, number: int, shards: int, cards: int, tokens: Sequence[int], poison: bool
) -> Client:
    """A random call; some end by a stop string or a stop id that is known to come."""
    parent = f"p{number}"
    choices = 2 if dice.random() < 0.2 and not poison else 1
    prompt: TokenIds = tuple(dice.randrange(VOCABULARY_SIZE - 1) for _ in range(dice.choice((2, 5, 9, 14))))
    if poison:
        prompt = (POISON, *prompt)
    sampling = SamplingParams(max_tokens=dice.choice(tokens), seed=8 * number)
    stop: tuple[str, ...] = ()
    if cards == 1 and not poison and dice.random() < 0.5:
        ids, _ = continuation(prompt, drawn(sampling, 0), VOCABULARY_SIZE, MAX_MODEL_LEN)
        chosen = dice.choice(ids)
        if dice.random() < 0.6:
            stop = (word(chosen),)
        else:
            sampling = SamplingParams(max_tokens=sampling.max_tokens, seed=8 * number, stop_ids=(chosen,))
    spec = RenderSpec(
        kind="chat",
        model="m",
        created=1,
        stream=dice.random() < 0.85,
        choices=choices,
        prompt_tokens=len(prompt),
        stop=stop,
    )
    lane = dice.choice(LANES)
    requests = tuple(
        GenerateRequest(
            id=request_id(parent, index),
            parent_id=parent,
            index=index,
            prompt=prompt,
            sampling=replace(sampling, seed=sampling.seed + index),
            render=spec,
            shard=shard_of(parent, shards),
            lane=lane,
        )
        for index in range(choices)
    )
    return Client(parent, requests, cards, may_fail=poison)


def describe(client: Client) -> str:
    one = client.requests[0]
    return (
        f"{client.parent}: shard {one.shard}, {len(client.requests)} choices, {one.lane}, {len(one.prompt)} prompt, "
        f"{one.sampling.max_tokens} at most, stop {one.render.stop or one.sampling.stop_ids}, "
        f"{'stream' if one.render.stream else 'body'}{', poison' if client.poison else ''}"
    )
