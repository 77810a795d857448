"""Thousands of random calls against the model of `random_driver`: hypothesis looks for short ways to break it, and
longer seeded runs look for rare ones. Pools are tiny, prefixes shared, stops and aborts frequent.
"""

import math
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.engine.core.scheduler import SchedulerConfig
from shared.types import LANES, FinishReason, Lane
from tests.fakes import continuation
from tests.unit.engine.core.playbook import config
from tests.unit.engine.core.random_driver import VOCAB_SIZE, Driver, a_submit

STEM = tuple(range(11)) * 4  # prompts are beginnings of it, and so share blocks


class AnyCalls(RuleBasedStateMachine):
    @initialize(
        num_blocks=st.integers(4, 14),
        rows=st.integers(1, 5),
        budget=st.integers(0, 12),
        prefix_caching=st.booleans(),
        stateless=st.booleans(),
        max_in_flight=st.integers(1, 3),
    )
    def start(
        self, num_blocks: int, rows: int, budget: int, prefix_caching: bool, stateless: bool, max_in_flight: int
    ) -> None:
        self.driver = Driver(
            config(
                num_blocks=num_blocks,
                block_size=2,
                max_num_seqs=rows,
                max_batched_tokens=rows + budget,
                max_model_len=24,
                max_in_flight=max_in_flight,
                prefix_caching=prefix_caching,
                stateless=stateless,
            )
        )

    @rule(
        id=st.sampled_from(["p.0", "p.1", "p.2", "q", "r", "s"]),
        stem=st.integers(0, 10),
        own=st.lists(st.integers(0, 1), max_size=2),
        max_tokens=st.integers(1, 14),
        stops=st.booleans(),
        salt=st.sampled_from(["", "x"]),
        priority=st.integers(-1, 1),
        lane=st.sampled_from(LANES),
        tenant=st.sampled_from(["", "a", "b"]),
        life=st.sampled_from([math.inf, math.inf, 0.05, 0.3]),
    )
    def submit(
        self, id: str, stem: int, own: list[int], max_tokens: int, stops: bool, salt: str, priority: int,
        lane: Lane, tenant: str, life: float,
    ) -> None:  # fmt: skip
        prompt = (*STEM[:stem], *own, 1)
        stop_ids = (3, 4) if stops else ()
        event = a_submit(
            id, prompt, max_tokens=max_tokens, stop_ids=stop_ids, salt=salt, priority=priority,
            arrival=self.driver.now, lane=lane, tenant=tenant, deadline=self.driver.now + life,
        )  # fmt: skip
        self.driver.submit(event)

    @rule(id=st.sampled_from(["p", "p.0", "q", "r"]))
    def abort(self, id: str) -> None:
        self.driver.abort(id)

    @rule()
    def plan(self) -> None:
        self.driver.plan()

    @precondition(lambda self: self.driver.flying)
    @rule()
    def commit(self) -> None:
        self.driver.commit()

    @rule(steps=st.integers(2, 8))
    def overlap(self, steps: int) -> None:
        """As the asynchronous loop does it: plan, then commit the one before."""
        for _ in range(steps):
            self.driver.plan()
            if len(self.driver.flying) > 1:
                self.driver.commit()

    @invariant()
    def flights_agree(self) -> None:
        if hasattr(self, "driver"):
            assert self.driver.scheduler.statistics()["in_flight"] == len(self.driver.flying)

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.drain()


def test_any_sequence_of_calls_keeps_the_books_and_the_tokens() -> None:
    """Whatever is submitted, aborted, planned and committed in whatever order."""
    run_state_machine_as_test(
        AnyCalls,
        settings=settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def storm(driver: Driver, dice: random.Random, calls: int) -> None:
    """Up to twelve requests at a time; a fifth of the calls hand in or take back, the others plan or commit."""
    depth = driver.config.max_in_flight
    for number in range(calls):
        if len(driver.held) < 12 and dice.random() < 0.25:
            prompt = (*STEM[: dice.choice((0, 3, 8, 15, 22))], *dice.choices(range(VOCAB_SIZE), k=dice.randint(1, 9)))
            event = a_submit(
                f"p{number // 3}.{number % 3}",
                prompt,
                max_tokens=dice.randint(1, 40),
                stop_ids=dice.choice(((), (3,), (3, 7, 8))),
                min_tokens=dice.choice((0, 4)),
                priority=dice.randint(-1, 1),
                arrival=driver.now,
                salt=dice.choice(("", "", "x")),
                seed=dice.randint(0, 3),
                lane=dice.choice(LANES),
                tenant=dice.choice("abc"),
                deadline=driver.now + dice.choice((math.inf, math.inf, math.inf, 0.12)),
            )
            whole, _ = continuation(prompt, event.sampling, VOCAB_SIZE, driver.config.max_model_len)
            if dice.random() < 0.2 and len(prompt) < driver.config.max_model_len:  # one that another engine began
                event = a_submit(
                    event.id, prompt, max_tokens=event.sampling.max_tokens, stop_ids=event.sampling.stop_ids,
                    min_tokens=event.sampling.min_tokens, arrival=driver.now, seed=event.sampling.seed,
                    output=whole[: dice.randint(0, len(whole))],
                )  # fmt: skip
            driver.submit(event)
        elif driver.held and dice.random() < 0.05:
            id = dice.choice(list(driver.held))
            driver.abort(id.rpartition(".")[0] if dice.random() < 0.3 else id)
        elif not driver.flying or (len(driver.flying) < depth and dice.random() < 0.6):
            driver.plan()
        else:
            driver.commit()


CONFIGS = {
    "tiny pool": config(num_blocks=14, max_in_flight=2, prefix_caching=True, max_batched_tokens=24, max_num_seqs=6),
    "tiny pool, sync": config(
        num_blocks=14, max_in_flight=1, prefix_caching=True, max_num_seqs=6, max_batched_tokens=10
    ),
    "tiny pool, no cache": config(num_blocks=15, max_in_flight=2, max_batched_tokens=9, max_num_seqs=8),
    "three in flight": config(num_blocks=18, max_in_flight=3, prefix_caching=True, max_num_seqs=8),
    "stateless": config(num_blocks=16, max_in_flight=2, prefix_caching=True, stateless=True, max_batched_tokens=16),
    "stateless, sync": config(num_blocks=16, max_in_flight=1, stateless=True, prefix_caching=True),
    "room for all": config(num_blocks=200, max_in_flight=2, prefix_caching=True, max_num_seqs=12),
    "blocks of one": config(num_blocks=70, block_size=1, prefix_caching=True, max_num_seqs=6),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_long_storm_ends_with_every_token_right_and_every_block_free(name: str) -> None:
    """A thousand calls, then everything is run to its end; each run has met what it is for."""
    settings: SchedulerConfig = CONFIGS[name]
    driver = Driver(settings)
    dice = random.Random(name)
    storm(driver, dice, 1000)
    driver.drain()
    statistics = driver.scheduler.statistics()
    reasons = {FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCEL, FinishReason.TIMEOUT}
    assert driver.finished.keys() == reasons
    assert statistics["tokens_committed"] > 300
    if settings.num_blocks < 200:
        assert statistics["preemptions"] > 0
    if settings.prefix_caching:
        assert statistics["prefix_hits"] > 0
    if settings.max_in_flight > 1:
        assert statistics["dropped_late"] > 0
