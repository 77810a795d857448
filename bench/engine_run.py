"""One measured run of the engine under one configuration: the same load, the old way or the new one.

The real scheduler, worker and loop; with `service` the real inbox, outbox and bus, and the real detokenizer in a
process of its own; with `inline` the detokenizer's own sessions inside the step loop.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median

from bench.inline import InlineDetokenizer
from bench.probes import Device, Probe, Span, TimedScheduler, TimedWorker
from bench.service_set import ServiceSet
from services.detokenizer.decode import Vocabulary
from services.engine.config import EngineConfig
from services.engine.core.events import Event, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop, StepOutput
from services.engine.outbox import Outbox
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared import tokenizer
from shared.bus import Delivery, Entry, StreamId
from shared.channel import Channel
from shared.messages import EngineStatus, GenerateRequest, RenderSpec
from shared.types import SamplingParams, request_id

OUTPUTS = 64  # as in services.engine
LEASE_MS = 600_000  # of an engine that lives as long as its run
PAUSE_S, PATIENCE_S = 0.005, 120.0
BLOCK, FIRST_ID = 16, 3  # ids below are special in the demo model


@dataclass(frozen=True, slots=True)
class Way:
    """Which of the three old habits an engine has."""

    scheduling: str  # "sync" | "async"
    state: str  # "stateless" | "stateful"
    detokenizer: str  # "inline" | "service"

    def __str__(self) -> str:
        return f"{self.scheduling}, {self.state}, {self.detokenizer}"


WAYS = tuple(Way(*way) for way in product(("sync", "async"), ("stateless", "stateful"), ("inline", "service")))
OLD, NEW = WAYS[0], WAYS[-1]


@dataclass(frozen=True, slots=True)
class Load:
    requests: int
    prompt: int  # tokens of each prompt
    tokens: int  # drawn for each request


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. CPU times are of the loop's thread, in milliseconds per step, by what they were spent on; `other` is
    the event loop itself and, with the service, inbox and outbox."""

    tokens_per_s: float  # until the last answer was rendered (inline) or settled on the bus (service)
    busy_share: float
    steps: int
    cpu_ms: dict[str, float]
    bytes_per_step: float  # median
    loop: tuple[Span, ...]
    device: tuple[Span, ...]


class Bench:
    """A worker and a tokenizer, loaded once, and as many runs as wanted."""

    def __init__(self, model: Path, device: str, load: Load) -> None:
        """Blocks while it loads. Raises ConfigError for what is not a model, or does not fit."""
        self._load = load
        length = load.prompt + load.tokens
        blocks = (load.requests + 1) * (-(-length // BLOCK) + 2)
        config = EngineConfig(
            model=str(model),
            device=device,  # type: ignore[arg-type]  # argparse has checked it
            max_num_seqs=load.requests,
            max_model_len=length,
            kv_blocks=blocks,
            block_size=BLOCK,
        )
        self._worker: Worker = open_worker(config, model)
        self._device = Device.of(self._worker)
        self._vocabulary = Vocabulary(tokenizer.load(model).backend_tokenizer)
        self._runs = 0

    def close(self) -> None:
        self._worker.close()

    async def run(self, way: Way, services: ServiceSet) -> Measured:
        """TimeoutError after PATIENCE_S; AssertionError if any request got fewer or more tokens than it asked for."""
        self._runs += 1
        self._device.spans, self._device.bytes = [], []
        probe, load = Probe(), self._load
        requests = _requests(load, f"run{self._runs}", services.gateway)
        events = Channel[Event](load.requests)

        def on_finish(count: int) -> None:
            if count == load.requests:
                events.close()

        scheduler = TimedScheduler(self._scheduler(way), probe, on_finish)
        worker = TimedWorker(self._worker, probe)
        gc.collect()
        gc.freeze()  # as services.engine does
        parts = (scheduler, worker, events, way.scheduling == "async")
        async with asyncio.timeout(PATIENCE_S):
            one = self._inline if way.detokenizer == "inline" else self._service
            cpu = await one(parts, requests, probe, services)
        seconds = time.perf_counter() - probe.spans[0].begin
        assert probe.tokens == load.requests * load.tokens, f"{way}: {probe.tokens} tokens"
        return self._measured(probe, worker, seconds, cpu)

    def _scheduler(self, way: Way) -> Scheduler:
        load = self._load
        return Scheduler(
            SchedulerConfig(
                num_blocks=self._worker.num_blocks,
                block_size=BLOCK,
                max_num_seqs=load.requests,
                max_batched_tokens=max(1024, load.requests),
                max_model_len=self._worker.max_model_len,
                stateless=way.state == "stateless",
            )
        )

    async def _inline(self, parts: "Parts", requests: Sequence[GenerateRequest], probe: Probe, _: ServiceSet) -> float:
        """Returns the loop's CPU seconds; as does `_service`."""
        scheduler, worker, events, overlap = parts
        ledger = Ledger(len(requests))
        for number, request in enumerate(requests):
            ledger.take(Delivery(Entry("interactive", StreamId(1, number)), request))
            submit = Submit(
                id=request.id, parent_id=request.parent_id, prompt=request.prompt, sampling=request.sampling
            )
            events.send_nowait(submit)
        outputs = InlineDetokenizer(self._vocabulary, ledger, probe)
        await EngineLoop(scheduler, worker, events, outputs, overlap=overlap).run()
        assert outputs.ended == len(requests), f"{outputs.ended} answers were rendered to their end"
        return _cpu_since(probe)

    async def _service(
        self, parts: "Parts", requests: Sequence[GenerateRequest], probe: Probe, services: ServiceSet
    ) -> float:
        scheduler, worker, events, overlap = parts
        bus, ledger, outputs = services.bus, Ledger(len(requests)), Channel[StepOutput](OUTPUTS)
        executor = await bus.next_boot("bench")
        await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), LEASE_MS)
        await bus.birth(executor, 1)
        for request in requests:
            await bus.submit(request.parent_id, [request])
        inbox = Inbox(bus, executor, ledger, events, outputs, self._worker.vocab_size, len(requests))
        outbox = Outbox(bus, executor, ledger, outputs)
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(inbox.receive())
            publishing = tasks.create_task(outbox.publish())
            while len(events) < len(requests):  # noqa: ASYNC110 - the inbox need not tell
                await asyncio.sleep(PAUSE_S)
            taking.cancel()  # it waits for room; later it would wait in a read, which takes what is another run's
            await EngineLoop(scheduler, worker, events, outputs, overlap=overlap).run()
            await publishing
            cpu = _cpu_since(probe)
        await services.settled()
        probe.spans.append(Span("settled", (now := time.perf_counter()), now))
        await bus.leave(executor, 1)
        return cpu

    def _measured(self, probe: Probe, worker: TimedWorker, seconds: float, cpu_s: float) -> Measured:
        steps = len(self._device.spans)
        settled = [span.end for span in probe.spans if span.name == "settled"]
        seconds = settled[0] - probe.spans[0].begin if settled else seconds
        cpu_ms = {name: 1000 * spent / steps for name, spent in probe.cpu_s.items()}
        cpu_ms["other"] = 1000 * cpu_s / steps - sum(cpu_ms.values())
        return Measured(
            tokens_per_s=probe.tokens / seconds,
            busy_share=worker.busy_share,
            steps=steps,
            cpu_ms=cpu_ms,
            bytes_per_step=median(self._device.bytes),
            loop=tuple(span for span in probe.spans if span.name != "settled"),
            device=tuple(self._device.spans),
        )


Parts = tuple[TimedScheduler, TimedWorker, Channel[Event], bool]


def typical(runs: Sequence[Measured]) -> Measured:
    """The run of median throughput, with the medians of all in place of its own figures."""
    middle = sorted(runs, key=lambda run: run.tokens_per_s)[len(runs) // 2]
    return replace(
        middle,
        tokens_per_s=median(run.tokens_per_s for run in runs),
        busy_share=median(run.busy_share for run in runs),
        cpu_ms={name: median(run.cpu_ms.get(name, 0.0) for run in runs) for name in middle.cpu_ms},
        bytes_per_step=median(run.bytes_per_step for run in runs),
    )


def _cpu_since(probe: Probe) -> float:
    assert probe.cpu_from is not None
    return time.thread_time() - probe.cpu_from


def _requests(load: Load, run: str, gateway: str) -> list[GenerateRequest]:
    """Prompts that share no prefix, no stop ids: each answer has as many tokens as asked for."""
    made = []
    render = RenderSpec(kind="chat", model="bench", created=0, stream=True, choices=1, prompt_tokens=load.prompt)
    for number in range(load.requests):
        parent = f"{run}-{number}"
        made.append(
            GenerateRequest(
                id=request_id(parent, 0),
                parent_id=parent,
                index=0,
                prompt=tuple(FIRST_ID + (number * 31 + at * 7 + at * number) % 1000 for at in range(load.prompt)),
                sampling=SamplingParams(max_tokens=load.tokens, temperature=0.0),
                render=render,
                shard=0,
                gateway=gateway,
            )
        )
    return made
