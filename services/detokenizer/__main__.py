"""`python -m services.detokenizer`: one shard's owner and the server that gateways connect to."""

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterable

from aiohttp import web

from services.detokenizer.config import DetokenizerConfig
from services.detokenizer.decode import Vocabulary
from services.detokenizer.links import Links
from services.detokenizer.owner import Owner
from services.detokenizer.server import MOST_BODY_BYTES, FrameServer
from services.detokenizer.sessions import Sessions
from services.detokenizer.tracing import Tracing
from shared import dump, lifecycle, logs, ops, redis_bus, tokenizer
from shared.bus import Bus, Retired
from shared.checkpoint import locate
from shared.errors import ConfigError
from shared.frames import Frame
from shared.messages import ShardStatus
from shared.telemetry.service import opened
from shared.types import ParentId

log = logging.getLogger("sluice.detokenizer")


class Detokenizer:
    """The parts of one process, and how far its start has come."""

    def __init__(self, config: DetokenizerConfig, bus: Bus) -> None:
        self._config = config
        self._bus = bus
        self._sessions: Sessions | None = None
        self._owner: Owner | None = None
        self._loading: tuple[str, float] = "loading the tokenizer", 0.0
        self._instance = secrets.token_hex(8)
        name = f"{config.shard}.{self._instance}"
        logs.name_instance(name)
        self._telemetry = opened("detokenizer", name, os.environ, self.statistics, config.trace_slow_s)
        self._tracing = Tracing(self._telemetry.recorder, self._telemetry.metrics)
        self._links = Links(self._frame, config.max_attached, told=self._tracing.wrote)

    async def run(self) -> None:
        """Serve for ever. Raises ConfigError, Retired (perhaps in a group)."""
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        ops.Ops(self.readiness, self._telemetry, self._config.internal_token).add_to(app)
        FrameServer(self._links, self._config.internal_token, self._asked, self._config.stall_s).add_to(app)
        try:
            runner, port = await ops.serve(app, self._config.host, self._config.port)
        except OSError as error:
            raise ConfigError(f"--port: cannot listen on {self._config.host}:{self._config.port}: {error}") from None
        log.info("shard %d listening on %s", self._config.shard, self._config.url(port))
        try:
            vocabulary = await asyncio.to_thread(self._load)
            lifecycle.settle_down()
            status = ShardStatus(shard=self._config.shard, url=self._config.url(port), instance=self._instance)
            self._sessions = Sessions(vocabulary)
            config = self._config
            keep = config.keep_s, config.keep_requests, time.monotonic, config.retention_s
            among = self._sessions, self._links, status, config.shards
            self._owner = Owner(self._bus, *among, *keep, tracing=self._tracing)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._telemetry.run(), name="telemetry")
                tasks.create_task(self._owner.run(), name="owner")
        finally:
            await runner.cleanup()

    def readiness(self) -> ops.Readiness:
        if self._owner is None:
            message, progress = self._loading
            return ops.Readiness(False, message, progress)
        if not self._owner.ready:
            return ops.Readiness(False, "waiting for the bus")
        return ops.Readiness(True)

    def statistics(self) -> ops.Statistics:
        parts = {"links": self._links, "sessions": self._sessions, "owner": self._owner}
        return {name: part.statistics() for name, part in parts.items() if part is not None}

    def _frame(self, parent: str, cursor: str) -> Frame | None:
        return self._sessions.frame(parent, cursor) if self._sessions else None

    def _asked(self, parents: Iterable[ParentId]) -> None:
        if self._owner and self._sessions and any(parent not in self._sessions for parent in parents):
            self._owner.look()

    def _load(self) -> Vocabulary:
        folder = locate(self._config.model, "tokenizer", self._progress)
        return Vocabulary(tokenizer.load(folder).backend_tokenizer)

    def _progress(self, message: str, share: float) -> None:
        self._loading = message, share


async def serve(config: DetokenizerConfig, stop: asyncio.Event) -> None:
    """Until `stop` is set, or somebody else owns the shard: then the process ends with status 1."""
    async with redis_bus.connect(config.redis_url, config.name, config.retention_s) as bus:
        try:
            async with asyncio.TaskGroup() as tasks:
                detokenizer = Detokenizer(config, bus)
                work = tasks.create_task(detokenizer.run(), name="detokenizer")
                with dump.on_signal(detokenizer.statistics):
                    await stop.wait()
                work.cancel()
            return
        except* Retired:
            log.error("another process owns shard %d now: this one ends", config.shard)
    sys.exit(1)


if __name__ == "__main__":
    lifecycle.run(
        DetokenizerConfig,
        "python -m services.detokenizer",
        "Turn token ids into finished answers, for one shard.",
        serve,
    )
