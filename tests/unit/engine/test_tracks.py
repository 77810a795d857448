"""A request's spans, from taken to ended: whatever becomes of it, and never more work than a touch at each turn."""

import time
from dataclasses import replace

from services.engine.core.step import RowWork, Seated, StepPlan, StepResult
from services.engine.measures import Measures
from services.engine.steps import StepLane
from services.engine.tracks import MOST, Tracks
from shared.messages import GenerateRequest, RenderSpec
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder
from shared.telemetry.spans import Context, Kind, Span, named_span_id, now_ns, request_digest
from shared.types import FinishReason, SamplingParams

SENT = Context.new(sampled=True)


def a_request(id: str = "p.0", traced: bool = True, **fields: object) -> GenerateRequest:
    render = RenderSpec(kind="chat", model="m", created=1, stream=True, choices=4, prompt_tokens=3)
    request = GenerateRequest(
        id=id,
        parent_id="p",
        index=int(id[-1]),
        prompt=(1, 2, 3),
        sampling=SamplingParams(max_tokens=9),
        render=render,
        shard=0,
        traceparent=str(SENT) if traced else None,
        sent_ms=(time.time() - 0.5) * 1000,
    )
    return replace(request, **fields)  # type: ignore[arg-type]  # of its own


class World:
    """Tracks and a lane of one engine; every step counts as one of those exported."""

    def __init__(self, slow_s: float = 0.0, every: int = 1) -> None:
        self.recorder = Recorder("engine", exports=True, slow_s=slow_s)
        self.metrics = Metrics("sluice_engine")
        self.measures = Measures(self.metrics)
        self.tracks = Tracks(self.recorder, self.measures, "e.1")
        self.lane = StepLane(self.recorder, self.tracks, self.measures, every)
        self.at = 0

    def step(
        self, *work: RowWork, seated: tuple[Seated, ...] = (), chunks: int = 0, preempted: tuple[str, ...] = ()
    ) -> None:
        """Planned, submitted, run and committed."""
        self.at += 1
        plan = StepPlan(self.at, (), (), (), work, (), chunks, seated, preempted)
        began_ns = now_ns()
        self.lane.planned(began_ns)
        self.lane.submitted(plan, now_ns())
        result = StepResult(self.at, (), begun_ns=now_ns(), ended_ns=now_ns() + 1)
        self.lane.committed(result, now_ns())

    def told(self, name: str) -> list[Span]:
        return [span for span in self.recorder.since(0) if span.name == name and span.context not in self.opened()]

    def opened(self) -> set[Context]:
        return {span.context for span in self.tracks._open()}

    def exported(self) -> list[str]:
        return [span.name for span in self.recorder.take(999)]

    def count(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"sluice_engine_{name}", labels)
        assert value is not None, name
        return value


def a_seat(id: str, row: int, known: int = 3, cached: int = 0) -> Seated:
    return Seated(id, row, known, cached)


def ran(world: World, id: str = "p.0") -> None:
    """Two chunks and three tokens."""
    world.step(RowWork(0, 0, 2, False), seated=(a_seat(id, 0, cached=0),), chunks=1)
    world.step(RowWork(0, 2, 1, True), chunks=1)
    for at in range(3, 5):
        world.step(RowWork(0, at, 1, True))


def test_a_request_is_a_tree_of_leaves_that_join_up() -> None:
    """queue from when it was sent, a prefill for each chunk, decode to the end; all under the gateway's span."""
    world = World()
    world.tracks.taken(a_request())
    ran(world)
    world.tracks.ended("p.0", FinishReason.STOP, 3)
    (whole,), (queue,), chunks, (decode,) = (world.told(n) for n in ("generate", "queue", "prefill", "decode"))
    assert (whole.parent, whole.kind, whole.error) == (SENT.span, Kind.CONSUMER, "")
    assert whole.context == SENT.child(named_span_id(SENT.trace, "generate", "p.0", 0))
    assert {leaf.parent for leaf in (queue, *chunks, decode)} == {whole.context.span}
    assert 0.4e9 < whole.start_ns - queue.start_ns < 5e9
    assert [chunk.attributes["sluice.tokens"] for chunk in chunks] == [2, 1]
    assert queue.end_ns <= chunks[0].start_ns + 1_000_000 and chunks[1].start_ns == chunks[0].end_ns
    assert decode.start_ns == chunks[1].end_ns and decode.end_ns == whole.end_ns
    assert [event.name for event in decode.events] == ["first token", "last token"]
    assert whole.attributes["gen_ai.usage.output_tokens"] == 3
    assert whole.attributes["sluice.request"] == request_digest("p") and "p.0" not in str(whole.attributes)
    assert sorted(world.exported()) == sorted(["step"] * 4 + ["queue", "prefill", "prefill", "decode", "generate"])


def test_no_leaf_ends_before_it_begins_though_the_device_says_it_ended_before_the_plan() -> None:
    """A simulated device makes up for its late timers so."""
    world = World()
    world.tracks.taken(a_request())
    chunks = world.tracks.planned(
        StepPlan(1, (), (), (), (RowWork(0, 0, 3, True),), (), 1, (a_seat("p.0", 0),), ()), now_ns()
    )
    world.tracks.computed(chunks, 1, now_ns() - 5_000_000)
    world.tracks.ended("p.0", FinishReason.STOP, 1)
    (prefill,), (decode,) = world.told("prefill"), world.told("decode")
    assert prefill.start_ns == prefill.end_ns == decode.start_ns < decode.end_ns
    assert world.count("prefill_seconds_sum") == 0


def test_steps_and_traced_requests_name_each_other() -> None:
    """Those that are not traced are in no link; a span has no more than the SDK's limit."""
    world = World()
    world.tracks.taken(a_request("p.0"))
    world.tracks.taken(a_request("p.1", traced=False))
    seats = (a_seat("p.0", 0), a_seat("p.1", 1))
    world.step(RowWork(0, 0, 3, True), RowWork(1, 0, 3, True), seated=seats, chunks=2)
    for at in range(MOST + 20):
        world.step(RowWork(0, 3 + at, 1, True), RowWork(1, 3 + at, 1, True))
    world.tracks.ended("p.0", FinishReason.LENGTH, 9)
    (whole,), steps = world.told("generate"), world.told("step")
    assert all(step.links == (whole.context,) for step in steps)
    assert whole.links == tuple(step.context for step in steps[:MOST])
    assert all(step.parent == "" and step.context.trace != whole.context.trace for step in steps)


def test_what_was_preempted_waits_again_and_says_so() -> None:
    world = World()
    world.tracks.taken(a_request())
    ran(world)
    world.step(preempted=("p.0",))
    world.step(RowWork(2, 0, 5, True), seated=(a_seat("p.0", 2, known=5),), chunks=1)
    world.tracks.ended("p.0", FinishReason.STOP, 4)
    (whole,) = world.told("generate")
    assert [event.name for event in whole.events] == ["preempted", "resumed"]
    assert (whole.attributes["sluice.preemptions"], len(world.told("queue"))) == (1, 2)
    assert world.count("request_preemptions_sum") == 1


def test_every_end_has_its_spans_and_its_count() -> None:
    """Refused at once, cancelled in the queue, late, and dropped with a life that others have ended."""
    world = World()
    for index, (reason, failed) in enumerate((("error", True), ("cancel", False), ("timeout", True), ("fenced", True))):
        world.tracks.taken(a_request(f"p.{index}"))
        if reason == "fenced":
            world.tracks.end_all()
        else:
            world.tracks.ended(f"p.{index}", reason, 0, "why" if failed else "")
        whole = world.told("generate")[-1]
        assert (whole.attributes["gen_ai.response.finish_reasons"], bool(whole.error)) == ((reason,), failed)
        assert world.count("requests_total", reason=reason) == 1
    assert len(world.told("queue")) == 4 and world.tracks.statistics() == {"held": 0}


def test_what_goes_on_is_seen_before_it_ends() -> None:
    world = World()
    world.tracks.taken(a_request())
    assert [span.name for span in world.recorder.since(0)] == ["generate", "queue"]
    ran(world)
    assert [span.name for span in world.recorder.since(0)][-2:] == ["generate", "decode"]


def test_a_slow_request_is_exported_though_it_was_not_chosen() -> None:
    for slow_s, exported in ((0.1, True), (60.0, False)):
        world = World(slow_s, every=0)
        world.tracks.taken(a_request(traceparent=str(SENT._replace(sampled=False))))
        ran(world)
        world.tracks.ended("p.0", FinishReason.STOP, 3)
        assert ("generate" in world.exported()) == exported


def test_of_steps_one_in_many_is_exported_and_those_with_idle_time_before_them() -> None:
    """At most ten of these in a second."""
    world = World(every=1000)
    began_ns = now_ns()
    for at in range(30):
        world.at += 1
        plan = StepPlan(world.at, (), (), (), (RowWork(0, at, 1, True),), (), 0)
        world.lane.submitted(plan, now_ns())
        begun_ns = began_ns + at * 10_000_000  # 5 ms of work, 5 ms of nothing
        result = StepResult(world.at, (), begun_ns=begun_ns, ended_ns=begun_ns + 5_000_000)
        world.lane.committed(result, now_ns())
    assert 10 <= len(world.exported()) <= 20
    assert world.count("device_busy_seconds_total") > 0.1
