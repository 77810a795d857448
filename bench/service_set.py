"""What stands around an engine in life: Redis, a detokenizer and somebody who listens, each a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared import redis_bus
from shared.bus import Bus, BusDown
from tools.run.embedded import redis_binary, redis_program

SERVED, GATEWAY = "sluice-bench", "bench"
PATIENCE_S, PAUSE_S, GRACE_S = 30.0, 0.02, 5.0


@dataclass(frozen=True, slots=True)
class ServiceSet:
    bus: Bus
    gateway: str
    redis_url: str

    async def settled(self) -> None:
        """Until the detokenizer has settled everything that was submitted. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.bus.snapshot(0)).entries:  # noqa: ASYNC110 - another process settles
                await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def service_set(model: Path, folder: Path) -> AsyncIterator[ServiceSet]:
    """Logs and Redis's files go to `folder`. Raises TimeoutError if they are not up within PATIENCE_S."""
    redis, url = redis_program(folder / "redis", redis_binary(), os.environ)
    environment = os.environ | {
        "SLUICE_REDIS_URL": url,
        "SLUICE_MODEL": str(model),
        "SLUICE_SERVED_MODEL_NAME": SERVED,
    }
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(_process(redis.command, os.environ, folder / "redis.log", piped=True))
        assert started.stdin is not None
        started.stdin.write(redis.stdin)
        started.stdin.close()
        command = (sys.executable, "-m", "services.detokenizer")
        await stack.enter_async_context(_process(command, environment, folder / "detokenizer.log"))
        bus = await stack.enter_async_context(redis_bus.connect(url, SERVED))
        async with asyncio.timeout(PATIENCE_S):
            door = await _door(bus)
            listening = folder / "listener.log"
            listener = (sys.executable, "-m", "bench.listener", door, GATEWAY)
            await stack.enter_async_context(_process(listener, environment, listening))
            while "connected" not in listening.read_text():  # noqa: ASYNC110 - another process writes
                await asyncio.sleep(PAUSE_S)
        yield ServiceSet(bus, GATEWAY, url)


async def _door(bus: Bus) -> str:
    """Where the detokenizer's server is, once it owns its shard."""
    while True:
        try:
            if (status := (await bus.shards(1))[0]) is not None:
                return status.url
        except BusDown:
            pass
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def _process(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path, *, piped: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs while inside; its output goes to `log`."""
    stdin = asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(environment), stdin=stdin, stdout=output, stderr=asyncio.subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(GRACE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
