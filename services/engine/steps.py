"""The step lane: what each step was, what it cost, and why the device was idle before it.

The loop says when it planned, submitted and committed and when it waited; the worker says when the device began and
ended. One tuple for each step goes to the timeline; one step in `every` is exported, and those before which the device
was idle though there was work.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.engine.core.step import StepPlan, StepResult
from services.engine.gaps import Cause, Gap, Gaps
from services.engine.measures import Measures
from services.engine.tracks import MOST, Chunk, Track, Tracks
from shared.telemetry.recorder import Recorder
from shared.telemetry.spans import Context, Span, Value, now_ns

ANOMALY_NS = 1_000_000  # of an idle gap with work at hand
MOST_ANOMALIES = 10  # exported in a second


@dataclass(slots=True)
class _Flight:
    plan: StepPlan
    context: Context
    tokens: int
    plan_ns: int
    submit_ns: int
    submitted_ns: int
    chunks: Sequence[Chunk]
    sampled: Sequence[Track] | None  # None: it is not exported for being one of many


class StepLane:
    """`every`: of so many steps one is exported; 0: none."""

    def __init__(
        self,
        recorder: Recorder,
        tracks: Tracks,
        measures: Measures,
        every: int = 0,
        clock_ns: Callable[[], int] = now_ns,
    ) -> None:
        self.now_ns = clock_ns
        self._recorder = recorder
        self._tracks = tracks
        self._measures = measures
        self._every = every
        self._gaps = Gaps()
        self._flights: deque[_Flight] = deque()
        self._idle_since_ns = 0  # since when there was nothing to do
        self._plan_ns = 0  # spent for the next step so far
        self._decoded_ns = 0  # when the device ended the last step, if that decoded
        self._oldest_ns = 0  # since when the oldest flight could have run
        self._anomalies = 0
        self._second = 0

    # ---- what the loop says
    def idles(self) -> None:
        """There is nothing to do until `works`, whatever comes and is of no use meanwhile."""
        self._idle_since_ns = self._idle_since_ns or self.now_ns()

    def works(self) -> None:
        self._gaps.waited(self._idle_since_ns, self.now_ns())

    def pressed(self, start_ns: int) -> None:
        """The bus was behind, and the loop waited for it from `start_ns` until now."""
        self._gaps.note(Cause.BUS, start_ns, self.now_ns())

    def planned(self, start_ns: int) -> None:
        """From `start_ns` until now the next step was decided: events, deadlines, the plan itself."""
        at_ns = self.now_ns()
        self._gaps.note(Cause.PLAN, start_ns, at_ns)
        self._plan_ns += at_ns - start_ns

    def submitted(self, plan: StepPlan, start_ns: int) -> None:
        """The worker took the step from `start_ns` until now."""
        at_ns = self.now_ns()
        self._gaps.note(Cause.SUBMIT, start_ns, at_ns)
        if not self._flights:
            self._oldest_ns = at_ns
        chunks = self._tracks.planned(plan, start_ns)
        chosen = self._recorder.exports and self._every and plan.step % self._every == 0
        sampled = self._tracks.sampled(plan) if chosen else None
        context = Context.new(sampled=True)
        self._flights.append(
            _Flight(plan, context, plan.num_tokens, self._plan_ns, at_ns - start_ns, at_ns, chunks, sampled)
        )
        self._plan_ns = self._idle_since_ns = 0

    def committed(self, result: StepResult, start_ns: int) -> None:
        """The oldest step's result was taken from `start_ns` until now."""
        at_ns = self.now_ns()
        self._gaps.note(Cause.PLAN, start_ns, at_ns)
        flight, cost = self._flights.popleft(), result.cost
        self._oldest_ns = at_ns
        self._tracks.computed(flight.chunks, result.step, result.ended_ns or at_ns)
        times = result.begun_ns, result.ended_ns, flight.submitted_ns, cost.launched_ns, cost.launch_ns
        gap = self._gaps.before(*times)
        self._count(flight, result, gap, at_ns - start_ns)
        self._tell(flight, result, gap, at_ns - start_ns)

    def oldest(self) -> tuple[int, float] | None:
        """The step that is to end next, and for how many seconds it could have run."""
        if not self._flights:
            return None
        return self._flights[0].plan.step, (self.now_ns() - self._oldest_ns) / 1e9

    def statistics(self) -> dict[str, int]:
        return {"in_flight": len(self._flights)}

    # ---- what comes of it
    def _count(self, flight: _Flight, result: StepResult, gap: Gap, commit_ns: int) -> None:
        measures, plan, cost = self._measures, flight.plan, result.cost
        measures.plan.observe(flight.plan_ns / 1e9)
        measures.pack.observe((cost.pack_ns or flight.submit_ns) / 1e9)
        measures.commit.observe(commit_ns / 1e9)
        if cost.launch_ns:
            measures.launch.observe(cost.launch_ns / 1e9)
        measures.kinds[_kind(plan)].inc()
        measures.step_tokens.observe(flight.tokens)
        measures.bytes.inc(cost.bytes)
        if cost.graph:
            measures.graphs.inc()
        if result.begun_ns:
            measures.busy.inc((result.ended_ns - result.begun_ns) / 1e9)
            measures.device.observe((result.ended_ns - result.begun_ns) / 1e9)
        for cause, length_ns in gap.parts.items():
            measures.idle[cause].inc(length_ns / 1e9)
        if plan.chunks < len(plan.work):
            if self._decoded_ns and result.ended_ns:
                measures.token.observe((result.ended_ns - self._decoded_ns) / 1e9)
            self._decoded_ns = result.ended_ns
        else:
            self._decoded_ns = 0

    def _tell(self, flight: _Flight, result: StepResult, gap: Gap, commit_ns: int) -> None:
        sampled = flight.sampled
        if sampled is None and self._anomalous(gap):
            sampled = self._tracks.sampled(flight.plan)
        attributes = _attributes(flight, result, commit_ns)
        attributes["sluice.idle_us"] = gap.ns // 1000
        if gap.cause is not None:
            attributes["sluice.idle_cause"] = gap.cause.value
            attributes |= {f"sluice.idle.{name}_us": length // 1000 for name, length in gap.parts.items()}
        links: tuple[Context, ...] = ()
        if sampled:
            links = tuple(track.context for track in sampled[:MOST])
            if len(sampled) > MOST:
                attributes["sluice.links_cut"] = len(sampled) - MOST
            for track in sampled:
                track.link(flight.context)
        start_ns = result.begun_ns or flight.submitted_ns
        span = Span("step", flight.context, "", start_ns, result.ended_ns or self.now_ns(), attributes, links=links)
        self._recorder.record(span)
        if sampled is not None:
            self._recorder.finish((span,), sampled=True)

    def _anomalous(self, gap: Gap) -> bool:
        """Idle for long with work at hand; not too many in a second."""
        if not self._recorder.exports or not self._every or gap.ns - gap.parts.get(Cause.WORK, 0) < ANOMALY_NS:
            return False
        second = self.now_ns() // 10**9
        if second != self._second:
            self._second, self._anomalies = second, 0
        self._anomalies += 1
        return self._anomalies <= MOST_ANOMALIES


def _kind(plan: StepPlan) -> str:
    if not plan.chunks:
        return "decode"
    return "prefill" if plan.chunks == len(plan.work) else "mixed"


def _attributes(flight: _Flight, result: StepResult, commit_ns: int) -> dict[str, Value]:
    plan, cost = flight.plan, result.cost
    return {
        "sluice.step": plan.step,
        "sluice.rows": len(plan.work),
        "sluice.decodes": len(plan.work) - plan.chunks,
        "sluice.chunks": plan.chunks,
        "sluice.tokens": flight.tokens,
        "sluice.plan_us": flight.plan_ns // 1000,
        "sluice.pack_us": (cost.pack_ns or flight.submit_ns) // 1000,
        "sluice.launch_us": cost.launch_ns // 1000,
        "sluice.device_us": (result.ended_ns - result.begun_ns) // 1000,
        "sluice.commit_us": commit_ns // 1000,
        "sluice.submitted_us_before": max(0, (result.begun_ns or flight.submitted_ns) - flight.submitted_ns) // 1000,
        "sluice.bytes": cost.bytes,
        "sluice.graph": cost.graph,
    }
