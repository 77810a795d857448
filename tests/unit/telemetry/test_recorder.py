"""The ring, and the queue of what is exported."""

from shared.telemetry import recorder as module
from shared.telemetry.recorder import Recorder
from shared.telemetry.spans import Context, Span

CONTEXT = Context.new(sampled=True)


def a_span(end_ns: int, start_ns: int = 0, name: str = "work") -> Span:
    return Span(name, CONTEXT, "", start_ns, end_ns)


def test_the_ring_keeps_the_newest_and_has_a_bound() -> None:
    recorder = Recorder("engine")
    for end_ns in range(module.RING + 10):
        recorder.record(a_span(end_ns, end_ns))
    assert recorder.statistics()["ring"] == module.RING
    assert recorder.since(0)[0].end_ns == 10


def test_a_look_shows_what_ended_since_and_what_goes_on() -> None:
    recorder = Recorder("engine")
    for end_ns in (10, 20, 15, 30):
        recorder.record(a_span(end_ns))
    recorder.tells_open(lambda: [a_span(99, name="open")] * (module.MOST_OPEN + 5))
    found = recorder.since(15)
    assert [span.end_ns for span in found if span.name == "work"] == [20, 15, 30]
    assert sum(span.name == "open" for span in found) == module.MOST_OPEN


def test_what_nobody_takes_is_not_queued() -> None:
    recorder = Recorder("engine", exports=False)
    recorder.finish([a_span(1)], sampled=True)
    assert recorder.take(9) == []


def test_chosen_and_slow_requests_are_exported_and_no_others() -> None:
    recorder = Recorder("engine", exports=True, slow_s=1.0)
    recorder.finish([a_span(1)], sampled=False, age_ns=10**9 - 1)
    recorder.finish([a_span(2)], sampled=False, age_ns=10**9)
    recorder.finish([a_span(3)], sampled=True)
    assert [span.end_ns for span in recorder.take(9)] == [2, 3]


def test_a_queue_that_nobody_empties_loses_and_counts() -> None:
    recorder = Recorder("engine", exports=True)
    recorder.finish((a_span(at) for at in range(module.QUEUE + 7)), sampled=True)
    assert recorder.statistics()["dropped"] == 7
    assert len(recorder.take(module.QUEUE + 7)) == module.QUEUE
