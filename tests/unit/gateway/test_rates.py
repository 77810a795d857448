"""What one key may ask: buckets in a time of the test's own, then over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.rates import Bucket, Quota, Rates, duration
from shared.errors import Overloaded
from shared.frames import Frame
from tests.unit.gateway.fakes import MODEL, World, a_chat, a_world, error_of, start, until
from tests.unit.gateway.streaming import Streaming, done, frames


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_requests_come_back_evenly_over_a_minute() -> None:
    """Six a minute: six at once, then one each ten seconds; the refusal says how long that is."""
    clock = Clock()
    rates, quota = Rates(clock), Quota(requests_per_minute=6)
    for _ in range(6):
        rates.ticket("a", quota).enter()
    clock.now_s += 4
    with pytest.raises(Overloaded) as refusal:
        rates.ticket("a", quota).enter()
    assert refusal.value.headers()["Retry-After"] == "6"
    rates.ticket("b", quota).enter()
    clock.now_s += 6
    rates.ticket("a", quota).enter()
    assert rates.statistics() == {"keys": 2, "refused": 1}


def test_what_an_answer_did_not_use_goes_back() -> None:
    clock = Clock()
    rates, quota = Rates(clock), Quota(tokens_per_minute=100)
    first, second = rates.ticket("a", quota), rates.ticket("a", quota)
    first.enter()
    first.reserve(80)
    second.enter()
    with pytest.raises(Overloaded, match="may come to 30") as refusal:
        second.reserve(30)
    assert refusal.value.headers()["Retry-After"] == "6"  # ten tokens of a hundred a minute
    first.spend(5)
    second.reserve(95)
    second.close()  # it never ran
    assert first.headers()["x-ratelimit-remaining-tokens"] == "95"


def test_a_request_larger_than_the_limit_waits_for_a_full_bucket_and_is_paid_off() -> None:
    """Refusing it for ever would help nobody; what it used beyond counts all the same."""
    clock = Clock()
    rates, quota = Rates(clock), Quota(tokens_per_minute=60)
    ticket = rates.ticket("a", quota)
    ticket.reserve(1000)
    ticket.spend(120)
    assert ticket.headers()["x-ratelimit-remaining-tokens"] == "0"
    assert ticket.headers()["x-ratelimit-reset-tokens"] == "2m0s"
    with pytest.raises(Overloaded) as refusal:
        rates.ticket("a", quota).reserve(1)
    assert refusal.value.headers()["Retry-After"] == "61"
    clock.now_s += 61
    rates.ticket("a", quota).reserve(1)


def test_only_so_many_run_at_once_and_an_end_makes_room() -> None:
    rates, quota = Rates(Clock()), Quota(requests_per_minute=9, concurrent=2)
    first, second, third = (rates.ticket("a", quota) for _ in range(3))
    first.enter()
    second.enter()
    with pytest.raises(Overloaded, match="2 requests"):
        third.enter()
    third.close()  # it never came in, so it makes no room
    with pytest.raises(Overloaded):
        third.enter()
    first.close()
    first.close()
    third.enter()
    assert third.headers()["x-ratelimit-remaining-requests"] == "6"


def test_a_new_limit_counts_at_once() -> None:
    """As after a change of the file; what was used stays used."""
    rates = Rates(Clock())
    for _ in range(3):
        rates.ticket("a", Quota(requests_per_minute=3)).enter()
    rates.ticket("a", Quota(requests_per_minute=4)).enter()
    with pytest.raises(Overloaded):
        rates.ticket("a", Quota(requests_per_minute=4)).enter()
    rates.ticket("a", Quota()).enter()


def test_accounts_are_bounded_and_none_in_use_is_forgotten() -> None:
    rates, quota = Rates(Clock(), most_accounts=2), Quota(requests_per_minute=1)
    running = rates.ticket("a", quota)
    running.enter()
    for name in ("b", "c", "d"):
        ticket = rates.ticket(name, quota)
        ticket.enter()
        ticket.close()
    assert rates.statistics()["keys"] == 2
    with pytest.raises(Overloaded):
        rates.ticket("a", quota).enter()


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 90)), min_size=1, max_size=60))
def test_over_any_time_no_more_is_let_in_than_the_bucket_and_what_it_gained(asked: list[tuple[int, float]]) -> None:
    clock, taken = Clock(), 0
    bucket = Bucket(clock.now_s)
    for amount, pause_s in asked:
        clock.now_s += pause_s
        bucket.fill(100, clock.now_s)
        if not bucket.wait_s(amount):
            bucket.give(-min(amount, 100))
            taken += min(amount, 100)
        assert -0.01 < bucket.level <= 100
    assert taken <= 100 + (clock.now_s - 1000) * 100 / 60 + 0.01


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0ms"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"), (3661.25, "61m1.25s")]
)
def test_a_time_reads_as_openai_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


LIMITS: dict[str, Any] = {"key_requests_per_minute": 3, "key_tokens_per_minute": 1000}
NAMES = {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}


async def answer(world: World, cursor: str, **fields: Any) -> dict[str, str]:
    """The headers of a chat whose answer ends at `cursor`."""
    asking = start(world.chat(**fields))
    parent = await world.parent()
    await world.detokenizer.push(Frame(parent, cursor, "{}", last=True, after=""))
    response = await asking
    assert response.status == 200
    return {name.lower(): value for name, value in response.headers.items()}


async def test_every_answer_tells_what_is_left_and_the_last_one_when_to_come(checkpoint: Path) -> None:
    """Errors and streams too; routes that cost nothing count nothing."""
    async with a_world(checkpoint, **LIMITS) as world:
        headers = await answer(world, "4", max_tokens=20)
        assert set(headers) >= NAMES
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("3", "2")
        for _ in range(5):
            assert (await world.http.get("/v1/models")).status == 200
        wrong = await world.chat(temperature=9)
        assert wrong.status == 400 and wrong.headers["x-ratelimit-remaining-requests"] == "1"
        assert (await world.http.post("/tokenize", json={"prompt": "x"})).status == 200
        refused = await world.chat()
        assert refused.status == 429 and set(refused.headers) >= NAMES
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        error = await error_of(refused)
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert refused.headers["X-Request-Id"].startswith("req-")


async def test_tokens_are_corrected_by_the_cursor_of_the_last_frame(checkpoint: Path) -> None:
    """Five of the prompt ("hi" in its template) and two choices of three and five tokens, each with its end."""
    async with a_world(checkpoint, key_tokens_per_minute=1000) as world:
        asking = start(world.chat(max_tokens=40, n=2))
        parent = (await world.submitted(2))[-1].parent_id
        bucket = next(iter(world.deps.rates._accounts.values())).tokens
        assert bucket.level == pytest.approx(1000 - 5 - 80, abs=1)
        await world.detokenizer.push(Frame(parent, "4,6", "{}", last=True, after=""))
        assert (await asking).status == 200
        await until(lambda: bucket.level > 980)
        assert bucket.level == pytest.approx(1000 - 5 - 8, abs=1)


@pytest.mark.parametrize(("policy", "left"), [("cancel", 1000 - 5 - 2), ("continue", 1000 - 64)])
async def test_who_leaves_pays_what_was_told_or_all_that_may_still_come(
    checkpoint: Path, policy: str, left: int
) -> None:
    async with a_world(checkpoint, key_tokens_per_minute=1000) as world:
        async with Streaming(world, **{"X-On-Disconnect": policy}) as streaming:
            parent = await world.parent()
            await world.detokenizer.push(*frames(parent, 0, 2))
            await until(lambda: world.deps.replies.outstanding(0).get(parent) == "2")
            streaming.leave()
            account = next(iter(world.deps.rates._accounts.values()))
            await until(lambda: account.running == 0)
        assert account.tokens.level == pytest.approx(left, abs=1)


async def test_a_request_that_never_ran_costs_no_tokens(checkpoint: Path) -> None:
    async with a_world(checkpoint, key_tokens_per_minute=1000) as world:
        world.bus.down = True
        response = await world.chat()
        assert response.status == 503
        account = next(iter(world.deps.rates._accounts.values()))
        assert account.running == 0 and account.tokens.level == pytest.approx(1000, abs=1)


async def test_keys_have_limits_of_their_own(checkpoint: Path, tmp_path: Path) -> None:
    """One key's stream in progress is in nobody else's way; its end makes room."""
    keys = tmp_path / "keys"
    keys.write_text("one k1 concurrent=1\ntwo k2\n")
    one = {"Authorization": "Bearer k1"}
    async with a_world(checkpoint, api_keys_file=str(keys)) as world, Streaming(world, **one) as streaming:
        parent = await world.parent()
        refused = await world.http.post("/v1/chat/completions", json=a_chat(), headers=one)
        assert refused.status == 429 and "1 requests of this API key" in (await error_of(refused))["message"]
        for key, status in (("k2", 404), ("k1", 429)):
            path, headers = "/v1/chat/completions", {"Authorization": f"Bearer {key}"}
            assert (await world.http.post(path, json=a_chat(model="none"), headers=headers)).status == status
        await world.detokenizer.push(*frames(parent, 0, 1), done(parent, 1))
        await streaming.result()
        response = await world.http.post("/v1/chat/completions", json=a_chat(model="none"), headers=one)
        assert response.status == 404


async def test_a_burst_is_let_in_to_the_limit_and_not_beyond(checkpoint: Path) -> None:
    async with a_world(checkpoint, key_requests_per_minute=5) as world:
        body = {"model": MODEL, "tokens": [104, 105]}
        burst = [world.http.post("/detokenize", json=body) for _ in range(12)]
        statuses = sorted(response.status for response in await asyncio.gather(*burst))
        assert statuses == [200] * 5 + [429] * 7
