"""The engine's composition root: the only file here that knows the bus, the device and the core at once."""

import asyncio
import logging
import os
import sys
from contextlib import suppress

from aiohttp import web

from services.engine.config import EngineConfig
from services.engine.core.ports import OpenWorker
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.inbox import Inbox
from services.engine.life import Life, patiently
from services.engine.loop import EngineLoop
from services.engine.measures import Measures
from services.engine.status import Load, Status
from services.engine.steps import StepLane
from services.engine.tracks import Tracks
from services.engine.watchdog import Watchdog
from shared import cancellation, dump, lifecycle, logs, ops, redis_bus
from shared.bus import Bus, BusDown, Executor, Fenced, Rewound
from shared.checkpoint import locate
from shared.telemetry.service import Telemetry, opened

LONGEST_QUEUES = 32  # of tenants, told to the gateways
SWITCH_S = 50e-6  # for which the loop may keep the interpreter from the thread of the steps, which often needs it
PROGRAMS = "512"  # that oneDNN keeps, of half a megabyte each; see layers/cpu_products.py
CLOSE_S = 1.0  # for the last words on the bus, and for the step that runs
log = logging.getLogger("sluice.engine")


async def serve(config: EngineConfig, stop: asyncio.Event) -> None:
    async with redis_bus.connect(config.redis_url, config.name) as bus:
        executor = await patiently(lambda: bus.next_boot(config.engine))
        status = Status(bus, str(executor))
        telemetry = opened("engine", str(executor), os.environ, lambda: engine.statistics(), config.trace_slow_s)
        engine = Engine(config, bus, executor, status, telemetry)
        logs.name_instance(str(executor))
        app = web.Application()
        ops.Ops(status.readiness, telemetry, config.internal_token).add_to(app)
        runner, port = await ops.serve(app, config.host, config.port)
        url = ops.address(config.host, port, config.advertise_host)
        status.address(url)
        log.info("%s listening on %s", executor, url)
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(status.keep_announcing(), name="lease"),
                    tasks.create_task(engine.run(), name="engine"),
                    tasks.create_task(telemetry.run(), name="telemetry"),
                ]
                with dump.on_signal(engine.statistics):
                    await stop.wait()
                for task in work:
                    task.cancel()
        finally:
            await runner.cleanup()


class Engine:
    """Loads the model and lives on the bus, one life after the other, until it is cancelled."""

    def __init__(
        self, config: EngineConfig, bus: Bus, executor: Executor, status: Status, telemetry: Telemetry
    ) -> None:
        self._config = config
        self._measures = Measures(telemetry.metrics)
        self._tracks = Tracks(telemetry.recorder, self._measures, str(executor))
        self._lane = StepLane(telemetry.recorder, self._tracks, self._measures, config.trace_steps)
        self._bus = bus
        self._executor = executor
        self._status = status
        self._statistics: list[tuple[str, ops.HasStatistics]] = []

    async def run(self) -> None:
        """Cancelling it is a drain: what runs here moves on to others at once. What it raises counts as a death."""
        worker = await asyncio.to_thread(self._load)
        try:
            await self._run(worker)
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):  # a long step does not hold us: nobody waits for its tokens
                    await asyncio.to_thread(worker.close)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._bus.leave(self._executor, self._config.shards)
        except (BusDown, TimeoutError) as error:
            log.warning("left without a word, the lease will run out: %s", error)

    async def _run(self, worker: OpenWorker) -> None:
        config = self._config
        scheduler = Scheduler(
            SchedulerConfig(
                num_blocks=worker.num_blocks,
                block_size=config.block_size,
                max_num_seqs=worker.max_num_seqs,
                max_batched_tokens=worker.max_batched_tokens,
                max_model_len=worker.max_model_len,
                prefix_caching=config.prefix_caching,
                stateless=config.worker_state == "stateless",
            )
        )
        lifecycle.settle_down()
        self._measures.watch(scheduler)
        self._status.ready(worker.max_model_len, worker.vocab_size, lambda: _load(scheduler))
        log.info("ready: %d blocks of %d tokens, %d rows", worker.num_blocks, config.block_size, worker.max_num_seqs)
        watchdog = Watchdog(self._lane.oldest, config.step_timeout_s, self._status, worker, self._measures)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watchdog.run(), name="watchdog")
            while True:
                await self._live(scheduler, worker)

    async def _live(self, scheduler: Scheduler, worker: OpenWorker) -> None:
        """One life, and the birth of the next."""
        config, overlap = self._config, self._config.scheduling == "async"
        told = self._tracks, self._lane
        life = Life(self._bus, self._executor, scheduler, worker, Inbox, EngineLoop, config.max_waiting, overlap, *told)
        owners: list[tuple[str, ops.HasStatistics]] = [("tracks", self._tracks), ("steps", self._lane)]
        self._statistics = [("scheduler", scheduler), ("worker", worker), *owners, *life.statistics]
        try:
            await cancellation.apart(life.run(config.shards, self._status.announce))
        except* (Fenced, Rewound) as ended:
            self._measures.fences.inc()
            log.warning("%s is over, and born again: %s", self._executor, ended.exceptions)
        await self._leave()
        self._executor = await patiently(lambda: self._bus.next_boot(config.engine, self._executor.boot))
        self._status.rename(str(self._executor))
        logs.name_instance(str(self._executor))

    def _load(self) -> OpenWorker:
        """torch costs 250 MB and seconds: only who computes imports it."""
        config, progress = self._config, self._progress
        if config.device == "sim":
            from services.engine.worker.sim import open_sim

            return open_sim(config, locate(config.model, "tokenizer", progress), progress)
        folder = locate(config.model, "weights", progress)
        from services.engine.worker.apart import is_apart, open_apart

        if is_apart(config):
            return open_apart(config, folder, progress)
        from services.engine.worker.opening import open_worker

        return open_worker(config, folder, progress)

    def statistics(self) -> ops.Statistics:
        return {name: part.statistics() for name, part in self._statistics}

    def _progress(self, message: str, fraction: float) -> None:
        log.info("%s (%d %%)", message, fraction * 100)
        self._status.progress(message, fraction)


def _load(scheduler: Scheduler) -> Load:
    counts = scheduler.statistics()
    names = ("running", "waiting", "waiting_tokens", "departed")
    return Load(**{name: int(counts[name]) for name in names}, queues=scheduler.waiting.tenants(LONGEST_QUEUES))


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_S)
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # read when torch first multiplies
        os.environ.setdefault(name, PROGRAMS)
    lifecycle.run(EngineConfig, "python -m services.engine", "The engine: token ids in, token ids out.", serve)
