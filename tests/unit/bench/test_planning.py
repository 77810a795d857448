"""What a step of pure decode holds and how much of it is sent, counted; how long it takes is `make bench`'s to say."""

from statistics import median

from bench.planning import BLOCK, BUDGET_BYTES, Step, steady_steps

ROWS, STEPS = 256, 2 * BLOCK


async def shapes(context: int, waiting: int = 0) -> tuple[list[Step], list[int]]:
    """The steps, and the bytes of each."""
    steps = await steady_steps(ROWS, context, waiting, STEPS)
    return steps, [step.bytes for step in steps]


async def test_a_step_of_256_rows_is_sent_in_less_than_8_kib() -> None:
    """Also in the steps in which every row begins a new block at once."""
    _, sizes = await shapes(16)
    assert len(sizes) == STEPS and 0 < max(sizes) < BUDGET_BYTES, max(sizes)


async def test_what_is_sent_does_not_grow_with_the_context() -> None:
    """The same bytes, step by step, at 16 tokens of context and at 1,024."""
    _, short = await shapes(16)
    _, long = await shapes(1024)
    assert short == long


async def test_a_plan_holds_a_difference_and_nothing_of_those_who_wait() -> None:
    """One piece of work for each row, nobody whole, one block for each row in one step of BLOCK."""
    steps, sizes = await shapes(32, waiting=500)
    _, alone = await shapes(32)
    assert sizes == alone
    assert all(len(step.plan.work) == ROWS and not step.plan.added and not step.plan.removed for step in steps)
    assert sum(len(step.plan.appended) for step in steps) == ROWS * STEPS // BLOCK
    assert median(len(step.plan.appended) for step in steps) == 0
