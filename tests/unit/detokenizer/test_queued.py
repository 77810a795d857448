"""Deadlines in the queue, and what a client hears of them."""

from services.detokenizer.render import Group, render
from services.detokenizer.session import Session
from shared.errors import DeadlineExceeded
from shared.memory_bus import MemoryBus
from shared.types import FinishReason
from tests.unit.detokenizer.cases import VOCABULARY, ids, request, spec
from tests.unit.detokenizer.world import Detokenizer, Engine, answered, entries, until


async def test_what_is_late_in_the_queue_ends_there() -> None:
    """No engine reads; the owner settles it, its client hears 504, and what has time left waits on."""
    bus = MemoryBus()
    now_ms = await bus.now_ms()
    late, patient = request("p", deadline_ms=now_ms - 1), request("q", deadline_ms=now_ms + 600_000)
    await bus.submit("p", [late])
    await bus.submit("q", [patient])
    async with Detokenizer(bus).running() as detokenizer:
        gateway = detokenizer.connect(p="", q="")
        await answered(bus)
        outcome = await bus.outcome("p.0")
        assert outcome is not None and outcome.reason is FinishReason.TIMEOUT
        await until(gateway.has_all)
        [frame] = gateway.read()
        assert frame.status == 504 and '"deadline_exceeded"' in frame.data
        assert gateway.read("q") == [] and await entries(bus) == 1


async def test_what_an_engine_has_taken_is_the_engines_to_end() -> None:
    bus = MemoryBus()
    await bus.submit("p", [request(deadline_ms=await bus.now_ms() - 1)])
    engine = await Engine.born(bus)
    await engine.take()
    async with Detokenizer(bus).running() as detokenizer:
        await detokenizer.owner.tend()
        assert await entries(bus) == 1 and await bus.outcome("p.0") is None


def test_a_late_stream_ends_with_the_error_in_it() -> None:
    """Its reader has seen some of it, so no status can say it."""
    session = Session(request(), VOCABULARY, None)
    session.accept(ids("Once upon"))
    session.finish(FinishReason.TIMEOUT, "")
    group = Group("p", spec(), [session])
    whole = render(group, "")
    assert whole is not None and (whole.status, whole.last) == (DeadlineExceeded.status, True)
    rest = render(group, "2")
    assert rest is not None and (rest.status, rest.last) == (200, True)
    assert '"code":"deadline_exceeded"' in rest.data and "[DONE]" not in rest.data
    body = render(Group("p", spec(stream=False), [session]), "")
    assert body is not None and body.status == 504
