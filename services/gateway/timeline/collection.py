"""Asks every living service for its last spans, all at the same time. Who does not answer is named and holds nobody up.

Whom to ask is what the leases say. What comes back is bytes that `rows.py` reads and believes nothing of.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp

from shared.bus import Bus, BusDown

Kind = Literal["gateway", "engine", "detokenizer", "bus"]
BUS_S = 1.0
ANSWER_S = 2.0
MOST_BYTES = 24 << 20  # of an answer; services stop at 16 MiB by themselves
MOST_SERVICES = 128
BROKEN = (aiohttp.ClientError, OSError, ValueError)  # the last: no URL


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said of itself, or why nothing is known of it."""

    kind: Kind
    instance: str
    body: bytes = b""
    problem: str = ""

    @property
    def process(self) -> str:
        return f"{self.kind} {self.instance}".rstrip()


@dataclass(frozen=True, slots=True)
class Place:
    kind: Kind
    instance: str
    url: str


class Collection:
    """`own` are the spans of `gateway`, this process, which needs no server for them."""

    def __init__(
        self,
        bus: Bus,
        shards: int,
        http: aiohttp.ClientSession,
        token: str,
        gateway: str,
        own: Callable[[float], Awaitable[bytes]],
    ) -> None:
        self._bus = bus
        self._shards = shards
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._gateway = gateway
        self._own = own

    async def answers(self, seconds: float) -> list[Answer]:
        """Of all services, gateways first, then by name."""
        mine = Answer("gateway", self._gateway, await self._own(seconds))
        try:
            async with asyncio.timeout(BUS_S):
                places = await self._places()
        except (BusDown, TimeoutError):
            return [mine, Answer("bus", "", problem="does not answer: the other services cannot be found")]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(place, seconds)) for place in places[:MOST_SERVICES]]
        more = [Answer(place.kind, place.instance, problem="not asked: too many") for place in places[MOST_SERVICES:]]
        order = {"gateway": 0, "engine": 1, "detokenizer": 2}
        others = sorted((task.result() for task in asked), key=lambda one: (order[one.kind], one.instance))
        return [mine, *others, *more]

    async def _places(self) -> list[Place]:
        """The leases of this moment. A service without an address cannot be asked."""
        gateways = [Place("gateway", one.name, one.url) for one in await self._bus.gateways()]
        engines = [Place("engine", one.name, one.url) for one in await self._bus.engines()]
        owners = [one for one in await self._bus.shards(self._shards) if one is not None]
        shards = [Place("detokenizer", f"{one.shard}.{one.instance}", one.url) for one in owners]
        return [one for one in (*gateways, *engines, *shards) if one.url and one.instance != self._gateway]

    async def _ask(self, place: Place, seconds: float) -> Answer:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with self._http.get(
                f"{place.url}/debug/spans",
                params={"seconds": f"{seconds:g}"},
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return Answer(place.kind, place.instance, problem=f"answers {response.status}")
                return Answer(place.kind, place.instance, await _bounded(response.content))
        except TimeoutError:
            return Answer(place.kind, place.instance, problem=f"does not answer within {ANSWER_S:g} s")
        except _TooLarge:
            return Answer(place.kind, place.instance, problem=f"says more than {MOST_BYTES >> 20} MiB")
        except BROKEN as error:
            return Answer(place.kind, place.instance, problem=f"cannot be asked: {type(error).__name__}")


class _TooLarge(Exception):
    pass


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in content.iter_any():
        size += len(part)
        if size > MOST_BYTES:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)
