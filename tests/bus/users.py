"""The bus as the three services see it together: each verb over the connection of a Redis user that may use it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

from redis import asyncio as redis

from shared import acl, redis_bus
from shared.bus import Bus
from shared.redis_bus import RedisBus

PASSWORD = "not-a-secret"
SPEAKS: Mapping[str, frozenset[str]] = {  # who says what, as services/ does
    "gateway": frozenset(
        [
            *("submit", "submit_as", "holder", "cancel", "backlog", "engines", "shards", "outcome", "now_ms", "memory"),
            *("announce_gateway", "gateways"),
        ]
    ),
    "engine": frozenset(
        [
            "next_boot",
            "announce_engine",
            "birth",
            "take",
            "held",
            "append",
            "leave",
            "control",
            "control_end",
            "memory",
            "now_ms",
        ]
    ),
    "detokenizer": frozenset(
        [
            "announce_shard",
            "claim",
            "snapshot",
            "requests",
            "read",
            "settle",
            "move",
            "discard",
            "checkpoint",
            "checkpoints",
            "fence",
            "bury",
            "trim",
            "outcome",
            "forget",
            "cancel",
            "control_end",
            "memory",
            "now_ms",
        ]
    ),
}


async def create_users(server: redis.Redis) -> None:
    for service in acl.VERBS:
        words = acl.rules(service).split()
        await server.execute_command("ACL", "SETUSER", service, "reset", f">{PASSWORD}", *words)


def url_of(url: str, service: str) -> str:
    parts = urlsplit(url)
    return f"redis://{service}:{PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"


class Users:
    """A `Bus`, as far as anybody can see."""

    def __init__(self, buses: Mapping[str, RedisBus]) -> None:
        self._buses = buses

    def __getattr__(self, verb: str) -> Any:
        service = next((name for name in SPEAKS if verb in SPEAKS[name]), None)
        if service is None:
            raise AttributeError(verb)
        return getattr(self._buses[service], verb)


@asynccontextmanager
async def connected(url: str, model: str) -> AsyncIterator[Bus]:
    async with AsyncExitStack() as stack:
        buses = {
            name: await stack.enter_async_context(redis_bus.connect(url_of(url, name), model)) for name in acl.VERBS
        }
        yield cast(Bus, Users(buses))
