"""A client that streams, and the frames it is sent: one a token, each behind the one before."""

import asyncio

from multidict import CIMultiDictProxy

from shared.frames import Frame
from tests.unit.gateway.fakes import World, a_chat, start


def event(cursor: str, text: str = "x") -> str:
    return f"id: {cursor}\ndata: {text}\n\n"


def frames(parent: str, first: int, last: int, *, size: int = 1) -> list[Frame]:
    """One frame a token, from the one behind cursor `first` to the one at `last`; 0 is the start."""
    name = ["", *map(str, range(1, last + 1))]
    return [Frame(parent, name[i], event(name[i], "x" * size), after=name[i - 1]) for i in range(first + 1, last + 1)]


def done(parent: str, after: int) -> Frame:
    return Frame(parent, str(after), "data: [DONE]\n\n", last=True, after=str(after))


def to(reader: str, *frames: Frame) -> list[Frame]:
    """The same for another reader."""
    return [frame._replace(reader=reader) for frame in frames]


def expected(last: int, *, size: int = 1) -> str:
    return PRELUDE + "".join(event(str(i), "x" * size) for i in range(1, last + 1)) + "data: [DONE]\n\n"


Result = tuple[int, CIMultiDictProxy[str], str]


PRELUDE = "retry: 1000\n\n"  # of an event stream with ids
EVENTS = {"Accept": "text/event-stream"}  # a client that reads ids


class Streaming:
    """A streaming chat, from its request to its end; it asks for ids unless `Accept` says otherwise."""

    def __init__(self, world: World, **headers: str) -> None:
        self._world = world
        self._task = start(self._run(EVENTS | headers))

    async def _run(self, headers: dict[str, str]) -> Result:
        path = "/v1/chat/completions"
        async with self._world.http.post(path, json=a_chat(stream=True), headers=headers) as response:
            return response.status, response.headers, await response.text()

    async def __aenter__(self) -> "Streaming":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def result(self) -> Result:
        async with asyncio.timeout(10):
            return await self._task

    async def text(self) -> str:
        return (await self.result())[2]

    def leave(self) -> None:
        """The client closes its connection."""
        self._task.cancel()
