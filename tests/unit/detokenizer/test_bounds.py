"""What long and finished requests leave on the bus (PROTOCOL 13)."""

from dataclasses import replace

import pytest

from services.detokenizer import trimming
from services.detokenizer.kept import Kept
from shared.memory_bus import MemoryBus
from shared.messages import Outcome
from shared.types import FinishReason
from tests.unit.detokenizer.cases import deltas, finished, ids, request, tokens
from tests.unit.detokenizer.world import TEXT, Detokenizer, Engine, answered, shown, until

IDS = ids(TEXT)


async def test_the_stream_of_a_long_request_stays_short_and_a_restart_changes_no_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is written down now and then; the next process goes on from there and from what follows in the stream."""
    monkeypatch.setattr(trimming, "CHECKPOINT_STEPS", 4)
    bus, one = MemoryBus(), request()
    engine = await Engine.born(bus)
    await bus.submit("p", [one])
    async with Detokenizer(bus).running() as first:
        await engine.write(*await engine.take())
        for offset in range(10):
            await engine.write(tokens(one, offset, IDS[offset : offset + 1]))
        await until(lambda: first.sessions.statistics()["tokens"] == 10)
        await first.owner.tend()
        assert bus.statistics()["checkpoints"] == 1
        assert bus.statistics()["token_entries"] == 1
    await engine.write(tokens(one, 10, IDS[10:]))
    async with Detokenizer(bus, "second").running() as second:
        gateway = second.connect(p="")
        await engine.write(finished(one, len(IDS), FinishReason.LENGTH))
        await until(gateway.has_all)
        await answered(bus)
        assert deltas(shown(gateway.frames)) == {0: TEXT}
        assert bus.statistics()["checkpoints"] == 0


def test_finished_answers_are_kept_by_bytes_and_time() -> None:
    """The oldest go when there are too many bytes of them; what has expired counts no more."""
    seconds = [0.0]
    kept = Kept(3500, 10.0, lambda: seconds[0])

    def an_outcome(name: str) -> Outcome:
        return Outcome(replace(request(name), prompt=(1,) * 8, output=(1,) * 10), FinishReason.STOP, "text")

    assert kept.add([an_outcome("a"), an_outcome("b"), an_outcome("c")]) == []
    assert kept.add([an_outcome("d")]) == ["a.0"]
    seconds[0] = 11.0
    assert kept.add([an_outcome("e")]) == []
    assert kept.statistics()["outcomes"] == 1
