"""Suspects run alone (PROTOCOL 11): Started first, nobody beside them before their first token, none lost."""

import asyncio
from dataclasses import replace

from services.engine.trials import DEATHS
from shared.messages import Finished, GenerateRequest, Started, Tokens
from shared.types import FinishReason, SamplingParams
from tests.unit.engine.shell_fakes import Countdown
from tests.unit.engine.test_ledger import a_delivery
from tests.unit.engine.test_shell import Shell, the_records


def a_request(index: int, deaths: int = 0, tokens: int = 6, parent: str = "p") -> GenerateRequest:
    like = a_delivery(index=index).request
    sampling = SamplingParams(max_tokens=tokens)
    return replace(like, id=f"{parent}.{index}", parent_id=parent, sampling=sampling, deaths=deaths)


def scheduler(shell: Shell) -> Countdown:
    found = shell.loop._scheduler
    assert isinstance(found, Countdown)
    return found


async def told(shell: Shell, *ends: str) -> dict[str, list[int]]:
    """The offsets of each request's tokens, once all of these have ended."""
    async with asyncio.timeout(10):
        while len([r for r in await the_records(shell.bus) if isinstance(r, Finished)]) < len(ends):
            await asyncio.sleep(0.001)
    offsets: dict[str, list[int]] = {end: [] for end in ends}
    for record in await the_records(shell.bus):
        if isinstance(record, Tokens):
            offsets[record.id] += range(record.offset, record.offset + len(record.ids))
    return offsets


async def test_a_suspect_runs_alone_until_its_first_token_and_the_others_go_on_behind_theirs() -> None:
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_request(0, tokens=40), a_request(1, tokens=40)])
        await shell.until_told(6)
        await shell.bus.submit("q", [a_request(0, DEATHS, parent="q")])
        offsets = await told(shell, "p.0", "p.1", "q.0")
        shell.stop()
    assert offsets == {"p.0": list(range(40)), "p.1": list(range(40)), "q.0": list(range(6))}
    planned = scheduler(shell).planned
    first = next(step for step, ids in enumerate(planned) if "q.0" in ids)
    assert planned[first] == ("q.0",)
    assert any({"p.0", "p.1", "q.0"} == set(ids) for ids in planned[first:])  # then they run together
    records = await the_records(shell.bus)
    assert sum(isinstance(record, Started) for record in records) == 3
    assert all(record.reason is FinishReason.LENGTH for record in records if isinstance(record, Finished))


async def test_suspects_are_tried_one_after_the_other_and_before_what_came_with_them() -> None:
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_request(0), a_request(1, DEATHS), a_request(2, DEATHS + 1)])
        offsets = await told(shell, "p.0", "p.1", "p.2")
        shell.stop()
    assert all(offset == list(range(6)) for offset in offsets.values())
    planned = scheduler(shell).planned
    assert planned[0] == ("p.1",)
    begins = {id: next(step for step, ids in enumerate(planned) if id in ids) for id in ("p.0", "p.1", "p.2")}
    assert planned[begins["p.2"]] == ("p.2",)
    assert begins["p.1"] < begins["p.2"] < begins["p.0"]


async def test_the_start_of_a_suspect_is_on_the_bus_before_its_first_step() -> None:
    """While the bus does not answer it does not run: if it kills the engine then, nobody would know."""
    shell = Shell()
    await shell.bus.submit("p", [a_request(0, DEATHS)])
    [delivery] = await shell.bus.take(shell.outbox._executor, 1, 0.0)
    await shell.bus.birth(shell.outbox._executor, 1)
    async with asyncio.TaskGroup() as group:
        shell.bus.down = True
        tasks = [group.create_task(work) for work in (shell.loop.run(), shell.outbox.publish())]
        tasks.append(group.create_task(shell.inbox._admit([delivery])))
        for _ in range(200):
            await asyncio.sleep(0)
        assert scheduler(shell).planned == []
        shell.bus.down = False
        async with asyncio.timeout(5):
            while not scheduler(shell).planned:
                assert not any(isinstance(record, Tokens) for record in await the_records(shell.bus))
                await asyncio.sleep(0.001)
        assert isinstance((await the_records(shell.bus))[0], Started)
        for task in tasks:
            task.cancel()


async def test_a_request_that_is_cancelled_while_it_is_set_aside_ends_at_once() -> None:
    shell = Shell(automatic=False)
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        await shell.bus.submit("p", [a_request(0, tokens=40)])
        async with asyncio.timeout(5):
            while not shell.worker.waiting:
                await asyncio.sleep(0.001)
        await shell.bus.submit("q", [a_request(0, DEATHS, parent="q")])
        async with asyncio.timeout(5):
            while ("q.0",) not in scheduler(shell).planned:
                if shell.worker.waiting and scheduler(shell).planned[-1] != ("q.0",):
                    shell.worker.finish()
                await asyncio.sleep(0.001)
        await shell.bus.cancel("p", "gone")
        async with asyncio.timeout(5):
            while not any(isinstance(record, Finished) for record in await the_records(shell.bus)):
                await asyncio.sleep(0.001)
        shell.stop()
    [end] = [record for record in await the_records(shell.bus) if isinstance(record, Finished)]
    assert (end.id, end.reason) == ("p.0", FinishReason.CANCEL)


async def test_a_newer_attempt_takes_the_place_of_what_runs_here() -> None:
    """Its owner has moved the request though this engine lives, as after a restart of the bus: the old run counts no
    more, and the new one begins at once behind what was accepted."""
    shell = Shell()
    async with asyncio.TaskGroup() as group:
        await shell.start(group)
        old = a_request(0, tokens=40)
        await shell.bus.submit("p", [old])
        await shell.until_told(4)
        await shell.bus.submit("again", [replace(old, attempt=old.attempt + 2, output=(100, 101))])
        await told(shell, "p.0")
        shell.stop()
    records = [record for record in await the_records(shell.bus) if not isinstance(record, Started)]
    new = [record for record in records if record.attempt == old.attempt + 2]  # type: ignore[union-attr]
    assert [record.offset for record in new if isinstance(record, Tokens)] == list(range(2, 40))
    assert not any(isinstance(record, Finished) and record.attempt == old.attempt for record in records)
