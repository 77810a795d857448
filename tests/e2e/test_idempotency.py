"""One call, one generation: the `openai` client repeats itself, two gateways are asked, and the engine counts."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.reading import Reading, session, story
from tests.e2e.stack import Stack
from tests.e2e.test_client import idle

ALL = 1 << 30  # bytes
TOKENS = 1900  # takes longer than the client's patience
PATIENCE_S = 90  # with a machine that does other work too


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways behind one port; who connects meets either."""
    with Stack(tmp_path_factory.mktemp("run"), "--gateways", "2") as running:
        yield running


class Engine:
    """What the engine says it was given, and the most that it held at once while somebody looked."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.most = 0.0

    async def look(self) -> dict[str, float]:
        metrics = await asyncio.to_thread(self._stack.metrics, "engine-0")
        self.most = max(self.most, metrics["sluice_engine_ledger_held"])
        return metrics

    async def taken(self) -> int:
        return int((await self.look())["sluice_engine_ledger_taken_total"])

    async def watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.005)

    async def rest(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not idle(await self.look()):
                await asyncio.sleep(0.02)


@pytest.fixture
async def engine(pair: Stack) -> AsyncIterator[Engine]:
    """At rest before and after."""
    found = Engine(pair)
    await found.rest()
    yield found
    await found.rest()


class Client:
    """The official client, which asks again when an answer does not come in time; `asked` counts."""

    def __init__(self, stack: Stack, retries: int) -> None:
        self.asked = 0
        http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._count]})
        self._openai = AsyncOpenAI(
            base_url=f"{stack.url}/v1",
            api_key="none",
            max_retries=retries,
            http_client=http,
            timeout=0.4,
            default_headers={"x-stainless-read-timeout": "60"},  # it is its leaving that ends a call, not a deadline
        )

    async def _count(self, _: object) -> None:
        self.asked += 1

    async def ask(self, seed: int, **headers: str) -> str:
        async with self._openai as client:
            whole = await client.completions.create(
                model="sluice-demo",
                prompt=f"Once upon a time, {seed} ",
                temperature=1.0,
                seed=seed,
                max_tokens=TOKENS,
                extra_body={"ignore_eos": True},
                extra_headers=headers,
            )
        return whole.choices[0].text


async def test_the_clients_retries_attach_to_the_generation_that_runs(pair: Stack, engine: Engine) -> None:
    """It loses patience more than once, and the engine is given one request."""
    before, client = await engine.taken(), Client(pair, retries=30)
    text = await client.ask(1, **{"Idempotency-Key": "retries"})
    assert client.asked > 1, "it was answered at once"
    assert await engine.taken() == before + 1
    async with AsyncOpenAI(base_url=f"{pair.url}/v1", api_key="none", max_retries=0) as patient:
        again = await patient.completions.create(
            model="sluice-demo",
            prompt="Once upon a time, 1 ",
            temperature=1.0,
            seed=1,
            max_tokens=TOKENS,
            extra_body={"ignore_eos": True},
            extra_headers={"Idempotency-Key": "retries"},
        )
    assert again.choices[0].text == text and len(text) > TOKENS
    assert await engine.taken() == before + 1


async def test_without_a_key_each_retry_ends_the_generation_before_it(pair: Stack, engine: Engine) -> None:
    """The client that goes away cancels, so there are never two at once for one call."""
    before, client = await engine.taken(), Client(pair, retries=2)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(engine.watch())
        with pytest.raises(openai.APITimeoutError):
            await client.ask(2)
        watching.cancel()
    await engine.rest()
    assert client.asked == 3
    assert await engine.taken() == before + 3
    assert engine.most == 1


async def test_many_calls_at_once_are_one_generation(pair: Stack, engine: Engine) -> None:
    """At two gateways, streaming; all of them read the whole of it under one id."""
    before, readings = await engine.taken(), [Reading() for _ in range(8)]
    async with session(pair.url) as http:
        key = {"Idempotency-Key": "crowd"}
        await asyncio.gather(*(one.begin(http, story(3, 300), ALL, **key) for one in readings))
        late = Reading()
        await late.begin(http, story(3, 300), ALL, **key)
        async with http.post("/v1/completions", json=story(4, 300), headers=key) as refused:
            assert refused.status == 422
    assert len({one.id for one in [*readings, late]}) == 1
    assert len({one.text for one in [*readings, late]}) == 1 and late.reasons == ["length"]
    assert await engine.taken() == before + 1


async def test_a_retry_reads_on_when_its_gateway_has_died(pair: Stack, engine: Engine) -> None:
    """The key lives on the bus, so whichever gateway is there next gives the same answer from its beginning."""
    before, first, again = await engine.taken(), Reading(), Reading()
    key = {"Idempotency-Key": "dead"}

    async def kill() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not first.begun:
                await asyncio.sleep(0.01)
        for gateway in pair.all_of("gateway"):
            gateway.kill()
        await pair.serving()

    async with session(pair.url) as http:
        await asyncio.gather(first.begin(http, story(5, TOKENS), ALL, **key), kill())
        assert not first.done
        await again.begin(http, story(5, TOKENS), ALL, **key)
    assert again.done and again.id == first.id and again.text.startswith(first.text)
    assert await engine.taken() == before + 1


async def test_a_call_whose_client_never_comes_back_ends(pair: Stack, engine: Engine) -> None:
    """Its own word for that counts; a later retry runs anew, as there is no answer to replay."""
    before, first, again = await engine.taken(), Reading(), Reading()
    key = {"Idempotency-Key": "gone"}
    async with session(pair.url) as http:
        await first.begin(http, story(6, TOKENS), 2000, **key, **{"X-On-Disconnect": "detach=1"})
        await engine.rest()
        async with asyncio.timeout(PATIENCE_S):
            while not again.done:
                again = Reading()
                await again.begin(http, story(6, TOKENS), ALL, **key)
                if again.reasons == ["stop"]:  # the owner has not yet written that it was cancelled
                    again.done = False
    assert again.id != first.id and again.text.startswith(first.text)
    assert await engine.taken() == before + 2
