"""The clients: each streams its answer, resumes wherever it broke off, and remembers all that it was told, and when.

A client knows of Sluice what its documentation says: a stream that breaks goes on at any gateway under its request's
id, behind the last event; 503 means "again, shortly". Whatever else it is told is a complaint.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import aiohttp
import orjson

from tests.chaos.cases import Case

RETRY_S = 0.2
HEADERS = {"Accept": "text/event-stream"}
LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=2.0)
BROKEN = (aiohttp.ClientError, OSError)  # of a connection; timeouts too


class Complaint(Exception):
    """A client was told what no client should be told."""


@dataclass(slots=True)
class Told:
    """What a client heard of one request. `lengths`: how long the text was behind each offset at which it stood."""

    client: int
    text: str = ""
    tokens: int = 0
    lengths: dict[int, int] = field(default_factory=lambda: {0: 0})
    cursor: str = ""
    finish: str = ""
    done: bool = False

    def hear(self, cursor: str, data: str) -> int:
        """Takes one event; how many new tokens it brought. Raises Complaint."""
        if data == "[DONE]":
            if not self.finish:
                raise Complaint("[DONE] before the end")
            self.done = True
            return 0
        event = orjson.loads(data)
        if "error" in event:
            raise Complaint(f"an error in the stream: {event['error']}")
        choice, offset = event["choices"][0], int(cursor)
        finish = choice["finish_reason"] or ""
        tokens = offset - bool(finish)  # the end has an offset of its own
        if tokens < self.tokens or (tokens == self.tokens and not finish) or self.finish:
            raise Complaint(f"offset {offset} after {self.cursor}: told twice")
        new, self.tokens = tokens - self.tokens, tokens
        self.text += choice["text"]
        self.lengths[tokens] = len(self.text)
        self.cursor, self.finish = cursor, finish
        return new


class Crowd:
    """All clients of one wave. Each begins anew when its answer has ended, until `last_round`."""

    def __init__(self, http: aiohttp.ClientSession, doors: Sequence[str], cases: Sequence[Case], model: str) -> None:
        self.told: list[Told] = []
        self.pauses_s = [0.0] * len(cases)  # the longest each client saw between two tokens, whatever lay between
        self.resumes = 0
        self.breaks = 0
        self.last_round = False
        self._http = http
        self._doors = doors
        self._cases = cases
        self._model = model
        self._tokens = [0] * len(cases)  # each client was told so far
        self._goal: tuple[int, asyncio.Event] | None = None

    async def client(self, index: int) -> None:
        """Until its answer has come after `last_round` was said. Raises Complaint."""
        last_s = 0.0
        while True:
            told = Told(index)
            self.told.append(told)
            try:
                last_s = await self._follow(told, last_s)
            except Complaint as error:
                raise Complaint(f"client {index} at token {told.tokens}: {error}") from None
            if self.last_round:
                return

    async def reached(self, each: int) -> None:
        """Until every client was told that many tokens."""
        self._goal = each, asyncio.Event()
        self._look()
        await self._goal[1].wait()

    @property
    def unfinished(self) -> int:
        return sum(not told.done for told in self.told)

    def _look(self) -> None:
        if self._goal and min(self._tokens) >= self._goal[0]:
            self._goal[1].set()

    async def _follow(self, told: Told, last_s: float) -> float:
        """One answer, over as many connections as it takes. `last_s`: when this client heard its last token, or 0."""
        request, door, tries = "", told.client, 0
        while not told.done:
            tries += 1
            try:
                async with self._ask(self._doors[door % len(self._doors)], told, request) as response:
                    if response.status == 503:
                        await asyncio.sleep(RETRY_S)
                        door += 1
                        continue
                    if response.status != 200:
                        raise Complaint(f"{response.status} {await response.text()}")
                    self.resumes += bool(request)
                    request = response.headers["X-Request-Id"]
                    async for cursor, data in events(response.content):
                        if new := told.hear(cursor, data):
                            now_s = time.monotonic()
                            if last_s:
                                self.pauses_s[told.client] = max(self.pauses_s[told.client], now_s - last_s)
                            last_s = now_s
                            self._tokens[told.client] += new
                            self._look()
            except BROKEN:
                pass
            if not told.done:
                self.breaks += 1
                door += 1
                await asyncio.sleep(RETRY_S)
        return last_s

    def _ask(self, door: str, told: Told, request: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The request itself, or, once it has a name, all of it behind what was told."""
        if request:
            headers = HEADERS | ({"Last-Event-ID": told.cursor} if told.cursor else {})
            return self._http.get(f"{door}/v1/streams/{request}", headers=headers, timeout=LIMITS)
        body = self._cases[told.client].body(self._model)
        return self._http.post(f"{door}/v1/completions", json=body, headers=HEADERS, timeout=LIMITS)


async def events(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, str]]:
    """(id, data) of each event of an event stream: an event is one only with its empty line, and an id stays."""
    cursor, data = "", ""
    async for line in content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            cursor = value
        elif name == "data":
            data = value
        elif not line.strip() and data:
            yield cursor, data
            data = ""
