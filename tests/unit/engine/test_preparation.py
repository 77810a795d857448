"""Requests with a grammar: compiled before the scheduler hears of them, while everybody else goes on."""

import asyncio
from dataclasses import replace

from services.engine.trials import DEATHS
from shared.grammars import MAX_GRAMMAR_BYTES
from shared.messages import Finished, GenerateRequest, Record, Started, Tokens
from shared.types import FinishReason
from tests.unit.engine.test_shell import Shell, the_records
from tests.unit.engine.test_trials import a_request


def with_grammar(parent: str, grammar: str, deaths: int = 0) -> GenerateRequest:
    request = a_request(0, deaths, parent=parent)
    return replace(request, sampling=replace(request.sampling, grammar=grammar))


async def ends(shell: Shell, count: int) -> list[Finished]:
    async with asyncio.timeout(10):
        while len(found := [r for r in await the_records(shell.bus) if isinstance(r, Finished)]) < count:
            await asyncio.sleep(0.001)
    return found


def of(records: list[Record], request: str) -> list[type[Record]]:
    return [type(r) for r in records if (r.request.id if isinstance(r, Started) else getattr(r, "id", "")) == request]


async def test_others_run_while_a_grammar_is_compiled() -> None:
    """Its `Started` is on the bus before the compiler is asked, so a crash would count as a death of this request."""
    shell = Shell()
    shell.worker.prepared.clear()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("slow", [with_grammar("slow", "large")])
        async with asyncio.timeout(10):
            while "prepare large" not in shell.log:
                await asyncio.sleep(0.001)
        assert of(await the_records(shell.bus), "slow.0") == [Started]
        await shell.bus.submit("p", [a_request(0)])
        assert [end.id for end in await ends(shell, 1)] == ["p.0"]
        shell.worker.prepared.set()
        assert {end.id for end in await ends(shell, 2)} == {"p.0", "slow.0"}
        shell.stop()
    records = await the_records(shell.bus)
    assert of(records, "slow.0") == [Started, *[Tokens] * 6, Finished]
    [started] = [r for r in records if isinstance(r, Started) and r.request.id == "slow.0"]
    assert started.request.sampling.grammar == "", "the entry has it; every token stream need not"


async def test_a_grammar_that_cannot_be_used_ends_its_request_in_words() -> None:
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("b", [with_grammar("b", "bad")])
        await shell.bus.submit("h", [with_grammar("h", "x" * (MAX_GRAMMAR_BYTES + 1))])
        found = {end.id: end for end in await ends(shell, 2)}
        shell.stop()
    assert all(end.reason is FinishReason.ERROR for end in found.values())
    assert found["b.0"].detail == "it is bad" and "bytes" in found["h.0"].detail
    assert shell.log == ["prepare bad"], "what is too large is not compiled at all"
    assert shell.ledger.statistics()["held"] == 0


async def test_a_cancel_finds_a_request_whose_grammar_is_being_compiled() -> None:
    """It ends at once, and what was compiled for it starts nothing."""
    shell = Shell()
    shell.worker.prepared.clear()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("c", [with_grammar("c", "large")])
        async with asyncio.timeout(10):
            while not shell.log:
                await asyncio.sleep(0.001)
        await shell.bus.cancel("c", "")
        [end] = await ends(shell, 1)
        shell.worker.prepared.set()
        await shell.bus.submit("p", [a_request(0)])
        await ends(shell, 2)
        shell.stop()
    assert (end.id, end.reason) == ("c.0", FinishReason.CANCEL)
    assert of(await the_records(shell.bus), "c.0") == [Started, Finished]


async def test_a_suspect_runs_alone_though_a_grammar_is_being_compiled() -> None:
    """The trial does not wait for it, and it does not slip in."""
    shell = Shell()
    shell.worker.prepared.clear()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("g", [with_grammar("g", "large")])
        async with asyncio.timeout(10):
            while not shell.log:
                await asyncio.sleep(0.001)
        await shell.bus.submit("s", [a_request(0, DEATHS, parent="s")])
        async with asyncio.timeout(10):
            while Tokens not in of(await the_records(shell.bus), "s.0"):
                await asyncio.sleep(0.001)
        shell.worker.prepared.set()
        found = await ends(shell, 2)
        shell.stop()
    assert {end.id for end in found} == {"g.0", "s.0"} and all(end.reason is FinishReason.LENGTH for end in found)
