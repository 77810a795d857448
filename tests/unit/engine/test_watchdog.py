"""A step that does not end: said, moved on by the bus protocol, and in the end given up."""

import asyncio
from typing import Any

import pytest

from services.engine import status as status_module
from services.engine.__main__ import Engine
from services.engine.config import EngineConfig
from services.engine.core.step import StepPlan, StepResult
from services.engine.measures import Measures
from services.engine.status import Status
from services.engine.watchdog import StepHung, Watchdog
from shared.memory_bus import MemoryBus
from shared.messages import EngineStatus
from shared.telemetry.metrics import Metrics
from shared.telemetry.service import opened
from tests.unit.engine.test_leaving import Card
from tests.unit.engine.test_trials import a_request


class Told:
    def __init__(self) -> None:
        self.whys: list[str] = []
        self.failures: list[Exception] = []

    def stalled(self, why: str) -> None:
        self.whys.append(why)

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


def test_a_step_that_takes_long_is_said_once_and_taken_back_when_it_ends() -> None:
    told, measures = Told(), Measures(Metrics("sluice_engine"))
    oldest: list[tuple[int, float] | None] = [None, (7, 0.9), (7, 1.1), (7, 1.9), (8, 0.1), (9, 2.5)]
    watchdog = Watchdog(lambda: oldest[0], 1.0, told, told, measures)  # type: ignore[arg-type]  # of a worker only `fail`
    seen = []
    while oldest:
        watchdog.look()
        seen.append((told.whys[-1:], len(told.failures)))
        oldest.pop(0)
    seven, nine = "step 7 has not ended for {} s", "step 9 has not ended for 2.5 s"
    assert told.whys == [seven.format(1.1), seven.format(1.9), "", nine]
    assert [failures for _, failures in seen] == [0, 0, 0, 0, 0, 1]
    assert isinstance(told.failures[0], StepHung)


class Hangs(Card):
    """From its third step on none ever ends; a lost device says so to who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[asyncio.Future[StepResult]] = []
        self.submitted = 0

    def submit(self, plan: StepPlan) -> Any:
        self.submitted += 1
        if self.submitted < 3:
            return super().submit(plan)
        self.held.append(asyncio.get_running_loop().create_future())
        return self.held[-1]

    def fail(self, error: Exception) -> None:
        for future in self.held:
            if not future.done():
                future.set_exception(error)
                future.exception()


class Leases(MemoryBus):
    renewed = 0

    async def announce_engine(self, status: EngineStatus, ttl_ms: int) -> None:
        self.renewed += 1
        await super().announce_engine(status, ttl_ms)


async def test_an_engine_whose_step_hangs_is_unready_and_has_no_lease_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners see a lease that runs out, and move its requests on; the process ends with the error."""
    monkeypatch.setattr(status_module, "RENEW_S", 0.01)
    bus = Leases()
    config = EngineConfig(engine_name="e", shards=1, block_size=4, step_timeout_s=0.3)
    first, worker = await bus.next_boot("e"), Hangs()
    status = Status(bus, str(first))
    engine = Engine(config, bus, first, status, opened("engine", str(first), {}, dict))
    monkeypatch.setattr(engine, "_load", lambda: worker)
    await bus.submit("p", [a_request(0, tokens=150)])
    with pytest.raises(BaseExceptionGroup) as ended:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(status.keep_announcing())
            tasks.create_task(engine.run())
            while "has not ended" not in status.readiness().message:
                await asyncio.sleep(0.01)
            renewed = bus.renewed
            assert renewed and not status.readiness().ready
            await asyncio.sleep(0.1)
            assert bus.renewed == renewed
    assert ended.group_contains(StepHung)
