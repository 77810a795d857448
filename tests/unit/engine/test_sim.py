"""`--device sim`: steps take a card's time, one behind another, and tokens follow from request and position."""

import asyncio
from dataclasses import replace

import pytest

from services.engine.core.events import Event, Submit
from services.engine.core.scheduler import Scheduler, SchedulerConfig
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.loop import EngineLoop, StepOutput
from services.engine.worker.cost import Card, CostModel
from services.engine.worker.sim import TICK_S, SimWorker
from shared.channel import Channel
from shared.types import SamplingParams, Score, TokenIds
from tests.unit.engine.virtual_time import VirtualLoop

TEN_MS = Card(bandwidth=1.0, flops=1.0, memory=1.0, overhead_s=0.01)
FIXED = CostModel(card=TEN_MS, body=0, head=0, attention=0, kv_bytes=0, itemsize=2)
SEEDED = SamplingParams(max_tokens=50, seed=7, stop_ids=(2,))


def sim(cost: CostModel = FIXED, stop_probability: float = 0.0, tells_time: bool = False) -> SimWorker:
    return SimWorker(
        cost,
        range(100, 200),
        num_blocks=64,
        max_model_len=256,
        vocab_size=256,
        max_num_seqs=8,
        max_batched_tokens=64,
        stop_probability=stop_probability,
        tells_time=tells_time,
        clock=lambda: asyncio.get_running_loop().time(),
    )


def plan(step: int, *work: RowWork, added: tuple[RowAdd, ...] = ()) -> StepPlan:
    return StepPlan(step, (), added, (), work)


def row(number: int, tokens: TokenIds = (1, 2, 3), prompt_len: int = 3, sampling: SamplingParams = SEEDED) -> RowAdd:
    return RowAdd(number, tokens, prompt_len, (0,), sampling)


async def alone(add: RowAdd, count: int, stop_probability: float = 0.0) -> list[int]:
    """The next `count` tokens of one request on an engine of its own."""
    worker, drawn, known = sim(stop_probability=stop_probability), list[int](), len(add.tokens)
    for step in range(count):
        work = RowWork(add.row, 0, known, True) if not step else RowWork(add.row, known + step - 1, 1, True)
        drawn += (await worker.submit(plan(step, work, added=() if step else (add,)))).tokens
    return drawn


# ---- time -----------------------------------------------------------------------------------------------------------


def test_steps_run_one_behind_another_as_on_a_stream() -> None:
    """Two submitted at once end after one time and after two; the third, submitted after a pause, starts then."""

    async def run() -> list[float]:
        loop, worker, ends = asyncio.get_running_loop(), sim(), []
        first = worker.submit(plan(0, RowWork(0, 0, 3, True), added=(row(0),)))
        second = worker.submit(plan(1, RowWork(0, 3, 1, True)))
        for step in (first, second):
            await step
            ends.append(loop.time())
        await asyncio.sleep(0.005)
        await worker.submit(plan(2, RowWork(0, 4, 1, True)))
        ends.append(loop.time())
        assert worker.statistics()["idle_seconds"] == pytest.approx(0.005)
        assert worker.statistics()["busy_seconds"] == pytest.approx(0.03)
        assert worker.statistics()["tokens"] == 5
        return ends

    with VirtualLoop().running() as loop:
        assert loop.run_until_complete(run()) == pytest.approx([0.01, 0.02, 0.035])


@pytest.mark.parametrize(("late_s", "total_s"), [(0.0, 1.0), (0.0004, 1.0), (0.0009, 1.0), (0.004, 1.3)])
def test_late_timers_do_not_slow_the_card(late_s: float, total_s: float) -> None:
    """A loop counts milliseconds, a card does not: 100 steps of 10 ms take 1 s, whoever waits for each one's end.
    More than that millisecond is the loop's own lateness, and costs what it would cost a card."""

    async def run() -> float:
        worker = sim()
        for step in range(100):
            add = () if step else (row(0),)
            await worker.submit(plan(step, RowWork(0, step, 1, True), added=add))
        return asyncio.get_running_loop().time()

    with VirtualLoop(late_s).running() as loop:
        assert loop.run_until_complete(run()) == pytest.approx(total_s, abs=0.0045)


def test_a_caller_that_plans_late_is_seen_as_an_idle_card() -> None:
    """Only the timer's lateness is forgiven: 4 ms between a step's end and the next one's submission cost 4 ms."""

    async def run() -> float:
        worker = sim()
        for step in range(10):
            await worker.submit(plan(step, RowWork(0, step, 1, True), added=() if step else (row(0),)))
            await asyncio.sleep(0.004)
        return asyncio.get_running_loop().time()

    with VirtualLoop().running() as loop:
        assert loop.run_until_complete(run()) == pytest.approx(10 * 0.014)


def test_a_step_nobody_waits_for_any_more_holds_up_no_other() -> None:
    """A cancelled future is passed over."""

    async def run() -> float:
        worker = sim()
        first = worker.submit(plan(0, RowWork(0, 0, 3, True), added=(row(0),)))
        second = worker.submit(plan(1, RowWork(0, 3, 1, True)))
        assert isinstance(first, asyncio.Future)
        first.cancel()
        await second
        return asyncio.get_running_loop().time()

    with VirtualLoop().running() as loop:
        assert loop.run_until_complete(run()) == pytest.approx(0.02)


# ---- tokens ---------------------------------------------------------------------------------------------------------


async def test_an_engine_that_goes_on_draws_what_the_first_would_have() -> None:
    """A request moves with its output as known tokens, to another row: the rest is the same."""
    rate = await alone(row(0), 20)
    moved = row(5, (1, 2, 3, *rate[:8]))
    assert await alone(moved, 12) == rate[8:]
    assert all(token in range(100, 200) for token in rate)
    assert len(set(rate)) > 10


async def test_a_greedy_answer_depends_on_the_prompt_alone_and_others_on_the_seed_too() -> None:
    """As with a model: another seed changes nothing at temperature 0, and everything above."""

    async def answer(prompt: TokenIds, seed: int, temperature: float) -> list[int]:
        sampling = replace(SEEDED, seed=seed, temperature=temperature)
        return await alone(row(0, prompt, len(prompt), sampling), 8)

    assert await answer((1, 2), 1, 0.0) == await answer((1, 2), 2, 0.0)
    assert await answer((1, 2), 1, 0.0) != await answer((1, 3), 1, 0.0)
    assert await answer((1, 2), 1, 1.0) == await answer((1, 2), 1, 1.0)
    assert await answer((1, 2), 1, 1.0) != await answer((1, 2), 2, 1.0)
    assert await answer((1, 2), -1, 1.0) == await answer((1, 2), 2**64 - 1, 1.0)


async def test_stops_come_as_often_as_asked_for_and_not_before_min_tokens() -> None:
    """Probability 0 draws none, 1 always; between, a share; `min_tokens` is kept."""
    assert 2 not in await alone(row(0), 50)
    assert await alone(row(0), 3, stop_probability=1.0) == [2, 2, 2]
    late = row(0, sampling=replace(SEEDED, min_tokens=4))
    assert [token == 2 for token in await alone(late, 6, stop_probability=1.0)] == [False] * 4 + [True] * 2
    free = row(0, sampling=replace(SEEDED, stop_ids=()))
    assert 2 not in await alone(free, 5, stop_probability=1.0)
    share = await alone(row(0), 400, stop_probability=0.25)
    assert 70 < share.count(2) < 130


def test_words_of_the_clock_say_when_their_step_ended() -> None:
    """The same word in all rows; it counts ticks, from the first again behind the last; a stop is drawn as ever."""

    async def run() -> list[TokenIds]:
        worker, rows = sim(tells_time=True), (row(0), row(1))
        work = tuple(RowWork(number, 0, 3, True) for number in (0, 1))
        first = worker.submit(plan(0, *work, added=rows))
        second = worker.submit(plan(1, RowWork(0, 3, 1, True)))  # known before the first has ended, and right
        drawn = [(await step).tokens for step in (first, second)]
        await asyncio.sleep(0.0051)
        drawn.append((await worker.submit(plan(2, RowWork(0, 4, 1, True)))).tokens)
        stopping = sim(stop_probability=1.0, tells_time=True)
        drawn.append((await stopping.submit(plan(0, RowWork(0, 0, 3, True), added=(row(0),)))).tokens)
        return drawn

    with VirtualLoop().running() as loop:
        drawn = loop.run_until_complete(run())
    ends = [0.01, 0.02, 0.0351]
    first, second, third = (100 + int(end / TICK_S) % 100 for end in ends)
    assert drawn == [(first, first), (second,), (third,), (2,)]
    assert (first, second, third) == (140, 180, 140)  # ticks 40, 80 and 140 of a vocabulary of 100


def test_the_engines_loop_keeps_a_simulated_card_busy() -> None:
    """Scheduler and loop as they are: with the next step planned while one runs, the card never waits."""

    async def run() -> dict[str, float]:
        worker = sim()
        scheduler = Scheduler(
            SchedulerConfig(num_blocks=64, block_size=16, max_num_seqs=8, max_batched_tokens=64, max_model_len=256)
        )
        events, outputs = Channel[Event](16), Channel[StepOutput](1000)
        for number in range(8):
            sampling = SamplingParams(max_tokens=40, seed=number)
            await events.send(Submit(id=f"r.{number}", parent_id="r", prompt=(1, 2, number), sampling=sampling))
        events.close()
        loop = EngineLoop(scheduler, worker, events, outputs, clock=lambda: 0.0)
        await loop.run()
        told = sum(len(delta.ids) for output in outputs.drain() for delta in output.deltas)
        assert told == 8 * 40
        return worker.statistics()

    with VirtualLoop(late_s=0.0005).running() as loop:
        statistics = loop.run_until_complete(run())
    assert statistics["idle_seconds"] == pytest.approx(0.0, abs=1e-9)
    assert statistics["busy_seconds"] == pytest.approx(0.01 * statistics["steps"])


async def test_a_simulated_card_says_that_it_follows_no_grammar() -> None:
    """Its words are no function of a mask: such a request is refused, and not answered with anything else."""
    assert "no structured output" in await sim().prepare('{"grammars": []}')


async def test_logprobs_of_a_simulated_device_say_that_all_words_are_equally_likely() -> None:
    """For whoever asks; so load tests can have them."""
    worker, asks = sim(), replace(SEEDED, logprobs=3, prompt_logprobs=0)
    rows = (row(0), row(1, sampling=asks))
    work = tuple(RowWork(number, 0, 3, samples=True) for number in (0, 1))
    result = await worker.submit(plan(0, *work, added=rows))
    [(index, score)] = result.scores
    assert (index, score.rank, score.ids) == (1, 1, (100, 101, 102))
    assert result.prompt_scores == ((1, (Score(score.logprob, 1),) * 2),)
    assert score.logprob == pytest.approx(-4.60517) and score.logprobs == (score.logprob,) * 3
