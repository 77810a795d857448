"""A whole engine but its inbox: scheduler, packing, a simulated device, loop, ledger, outbox."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.rigs.bus import MeteredBus
from bench.rigs.still import still_loop
from services.engine.core.events import Event, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import StepPlan, StepResult
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop, StepOutput
from services.engine.measures import Measures
from services.engine.outbox import Outbox
from services.engine.steps import StepLane
from services.engine.tracks import Tracks
from services.engine.worker.cost import Card, CostModel
from services.engine.worker.pack import Packer
from services.engine.worker.sim import SimWorker
from shared.bus import Delivery, Entry, StreamId
from shared.channel import Channel
from shared.messages import GenerateRequest, RenderSpec
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder
from shared.types import SamplingParams, request_id

BLOCK, VOCABULARY = 16, 50_000
OUTPUTS = 64  # as in services.engine
WARM = 4  # steps before those that are looked at


class PackingWorker:
    """The simulated device behind the real packer, which sends it nothing: `bytes` is what it would have sent."""

    def __init__(self, inner: SimWorker, packer: Packer) -> None:
        self._inner = inner
        self._packer = packer
        self.bytes = 0

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        self.bytes += self._packer.pack(plan).buffer.nbytes
        return self._inner.submit(plan)

    def statistics(self) -> dict[str, float]:
        return self._inner.statistics()


@dataclass(frozen=True, slots=True)
class EngineRig:
    bus: MeteredBus
    worker: PackingWorker

    async def step(self) -> None:
        """The device ends a step; until what that brought is on the bus, and the step behind the next is submitted."""
        link = self.bus.link
        before = link.commands
        still_loop().advance(1.0)
        await link.written.until(lambda: link.commands > before)
        link.forget()


@asynccontextmanager
async def engine_rig(running: int, steps: int, prompt: int = BLOCK) -> AsyncIterator[EngineRig]:
    """`running` requests that decode for at least `steps` steps."""
    length = prompt + steps + WARM + 2 * BLOCK
    blocks = running * -(-length // BLOCK)
    scheduler = Scheduler(
        SchedulerConfig(
            num_blocks=blocks,
            block_size=BLOCK,
            max_num_seqs=running,
            max_batched_tokens=running * prompt,  # all prompts in the first step
            max_model_len=length,
        )
    )
    bus, worker = MeteredBus(), _worker(running, blocks, length)
    executor, recorder, measures = await bus.next_boot("rig"), Recorder("engine"), Measures(Metrics("sluice_engine"))
    tracks = Tracks(recorder, measures, str(executor))
    lane, ledger = StepLane(recorder, tracks, measures), Ledger(running, tracks)
    await bus.birth(executor, 1)
    events, outputs = Channel[Event](running), Channel[StepOutput](OUTPUTS)
    for number in range(running):
        request = _request(number, prompt, length)
        ledger.take(Delivery(Entry("interactive", StreamId(1, number)), request))
        events.send_nowait(
            Submit(id=request.id, parent_id=request.parent_id, prompt=request.prompt, sampling=request.sampling)
        )
    loop = EngineLoop(scheduler, worker, events, outputs, clock=still_loop().time, lane=lane)
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(loop.run(), name="loop"),
            tasks.create_task(Outbox(bus, executor, ledger, outputs).publish(), name="outbox"),
        ]
        rig = EngineRig(bus, worker)
        await bus.link.written.until(lambda: bus.link.commands > 0)  # that they began
        for _ in range(WARM):
            await rig.step()
        yield rig
        for task in parts:
            task.cancel()


def _worker(rows: int, blocks: int, length: int) -> PackingWorker:
    """Each step of `rows` drawn tokens takes a second of the loop's clock."""
    card = Card(bandwidth=math.inf, flops=math.inf, memory=math.inf, overhead_s=0.0)
    cost = CostModel(card=card, body=0, head=0, attention=0, kv_bytes=0, itemsize=2, tokens_per_second=rows)
    sim = SimWorker(
        cost,
        range(3, 1003),
        num_blocks=blocks,
        max_model_len=length,
        vocab_size=VOCABULARY,
        max_num_seqs=rows,
        max_batched_tokens=rows * length,
        clock=still_loop().time,
    )
    return PackingWorker(sim, Packer(-(-length // BLOCK), VOCABULARY))


def _request(number: int, prompt: int, length: int) -> GenerateRequest:
    parent = f"chatcmpl-{number:032x}"
    return GenerateRequest(
        id=request_id(parent, 0),
        parent_id=parent,
        index=0,
        prompt=(number, *range(1, prompt)),
        sampling=SamplingParams(max_tokens=length - prompt, temperature=0.8, top_p=0.95),
        render=RenderSpec(kind="chat", model="rig", created=0, stream=True, choices=1, prompt_tokens=prompt),
        shard=0,
    )
