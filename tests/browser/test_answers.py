"""Answers on the page: they come piece by piece, end when they are told to, and outlive whatever comes between."""

import asyncio
import re
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import KEY
from tests.browser.playground import MODEL, Playground
from tests.chaos.proxy import Proxy
from tests.e2e.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

ABORTED = "sluice_engine_scheduler_aborted"
LONG = "A long story"  # the question of all tests that cut its answer, which has 400 tokens
COMMITTED = "sluice_engine_scheduler_tokens_committed"
TAKEN = "sluice_engine_ledger_taken_total"


async def metric(stack: Stack, name: str) -> float:
    return (await asyncio.to_thread(stack.metrics, "engine-0"))[name]


async def test_an_answer_comes_piece_by_piece(playground: Playground) -> None:
    """Each sight of it is the beginning of the next, the last is what the API says; below stands what it took."""
    await playground.set(temperature=0, max_tokens=150)
    await playground.send("One")
    sights = []
    while await playground.answer.get_attribute("aria-busy") != "false":
        sights.append(await playground.text.inner_text())
        await asyncio.sleep(0.02)
    whole = await playground.ended()
    assert whole == await playground.uncut("One", 150)
    assert all(whole.startswith(sight) for sight in sights) and len(set(sights)) > 5
    figures = await playground.answer.locator(".figures").inner_text()
    found = re.fullmatch(r"150 tokens · ([\d.]+) tokens/s · first token (\d+\.\d\d) s", figures)
    assert found and 50 < float(found[1]) < 600
    await expect(playground.page.locator("#context")).to_have_text(re.compile(r"^1\d\d of 2,048 tokens$"))
    timeline = playground.answer.get_by_role("link", name="timeline")
    await expect(timeline).to_have_attribute("href", re.compile(r"^debug/timeline\?request=chatcmpl-[0-9a-f]{32}$"))


async def test_a_reload_in_the_middle_of_an_answer_loses_nothing(playground: Playground) -> None:
    """The page goes on behind the last event that it has kept, and the text is that of an answer that was never cut."""
    await playground.set(temperature=0, max_tokens=400)
    await playground.send(LONG)
    before = await playground.begun(300)
    await playground.page.reload()
    after = await playground.begun()
    whole = await playground.ended()
    assert whole == await playground.uncut(LONG, 400)
    assert whole.startswith(before) and len(before) < len(whole) and whole.startswith(after)
    post, resumed = playground.asked
    assert post == "POST /v1/chat/completions"
    assert re.fullmatch(r"GET /v1/streams/chatcmpl-[0-9a-f]{32}\?starting_after=[1-9]\d*", resumed)


async def test_a_reload_before_the_first_word_asks_nothing_twice(playground: Playground, stack: Stack) -> None:
    """The answer has no name yet: the question is sent again under its key, and attaches to what it began."""
    taken = await metric(stack, TAKEN)
    await playground.set(temperature=0, max_tokens=100)
    async with playground.page.expect_request("**/v1/chat/completions"):
        await playground.send("Three")
    await playground.page.reload()
    whole = await playground.ended()
    assert await metric(stack, TAKEN) == taken + 1
    assert whole == await playground.uncut("Three", 100)


async def test_an_answer_outlives_its_gateway(playground: Playground, stack: Stack) -> None:
    """The connection breaks; the page says so, comes back by itself, and the text is the same."""
    await playground.set(temperature=0, max_tokens=400)
    await playground.send(LONG)
    await playground.begun(300)
    stack.process("gateway").kill()
    await expect(playground.answer).to_contain_text("The connection broke; going on…")
    whole = await playground.ended()
    assert whole == await playground.uncut(LONG, 400)


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "says nothing"])
async def test_an_answer_outlives_a_lost_network(browser: Browser, stack: Stack, silent: bool) -> None:
    """Whether the network says that it is gone or nothing at all; what was said meanwhile comes when it does."""
    address = urlsplit(stack.url)
    network = Proxy((str(address.hostname), int(address.port or 0)))
    await network.start()
    async with Playground.opened(browser, f"http://127.0.0.1:{network.port}", KEY) as playground:
        await playground.page.clock.install()
        await playground.set(temperature=0, max_tokens=400)
        await playground.send(LONG)
        before = await playground.begun(300)
        if silent:
            network.hold()
            await playground.page.clock.fast_forward(30_000)  # the page expects a word every 10 s
        else:
            network.refuse()
        await expect(playground.answer).to_contain_text("The connection broke; going on…")
        network.welcome()
        whole = await playground.ended()
        assert whole == await playground.uncut(LONG, 400) and whole.startswith(before)
        assert len(playground.asked) > 1 and not playground.complaints
    await network.close()


async def test_stop_ends_the_work_on_the_engine(playground: Playground, stack: Stack) -> None:
    """Not only the page stops: the engine aborts the request, and a message can be sent at once."""
    aborted, committed = await metric(stack, ABORTED), await metric(stack, COMMITTED)
    await playground.set(temperature=0, max_tokens=1500)
    await playground.send("Five")
    await playground.begun(100)
    await playground.page.keyboard.press("Escape")
    text = await playground.ended()
    await expect(playground.answer).to_contain_text("Stopped")
    async with asyncio.timeout(10):
        while await metric(stack, ABORTED) < aborted + 1:
            await asyncio.sleep(0.02)
    assert text and await metric(stack, COMMITTED) - committed < 1000
    await expect(playground.page.get_by_label("Send", exact=True)).to_be_visible()


async def test_who_waits_sees_its_place_in_the_queue(playground: Playground) -> None:
    """The engine has one row, and it is taken; a reload meanwhile costs neither the place nor the answer."""
    await playground.set(temperature=0, max_tokens=60)
    taken = {"model": MODEL, "prompt": "x", "max_tokens": 1900, "ignore_eos": True, "stream": True}
    async with (
        aiohttp.ClientSession(playground.url, headers={"Authorization": f"Bearer {KEY}"}) as http,
        http.post("/v1/completions", json=taken),  # it leaves with its connection
    ):
        await playground.send("Six")
        await expect(playground.answer).to_contain_text("Waiting: number 1 in the queue")
        await playground.page.reload()
        await expect(playground.answer).to_have_attribute("aria-busy", "true")
    assert await playground.ended() == await playground.uncut("Six", 60)


async def test_what_the_server_refuses_is_shown_in_its_words(playground: Playground) -> None:
    """And can be tried again, once its cause is gone."""
    await playground.set(max_tokens=5000)
    await playground.send("Seven")
    alert = playground.page.get_by_role("alert")
    await expect(alert).to_contain_text("This model's maximum context length is 2048 tokens.")
    await playground.set(max_tokens=5)
    await playground.page.get_by_role("button", name="Try again").click()
    assert await playground.ended()
    await expect(alert).to_be_hidden()


async def test_a_field_that_cannot_be_sent_is_pointed_at(playground: Playground) -> None:
    """The browser knows the bounds; the message stays where it was."""
    await playground.set(temperature=3)
    await playground.send("Eight")
    await expect(playground.page.locator("#parameters [name=temperature]")).to_be_focused()
    await expect(playground.question).to_have_value("Eight")
    assert not playground.asked


async def test_parameters_and_system_prompt_are_sent(playground: Playground) -> None:
    """Those that are filled in, and no others."""
    await playground.set(system="Be brief.", temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, max_tokens=3, seed=7)
    await playground.set(presence_penalty=0.1, frequency_penalty=0.2, repetition_penalty=1.1, stop="END\n\nfin")
    async with playground.page.expect_request("**/v1/chat/completions") as request:
        await playground.send("Nine")
    value = await request.value
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Nine"}]
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 3, "seed": 7}
    penalties = {"presence_penalty": 0.1, "frequency_penalty": 0.2, "repetition_penalty": 1.1}
    stream = {"stream": True, "stream_options": {"include_usage": True}, "model": MODEL}
    wanted = {"messages": messages, "stop": ["END", "fin"]} | sampling | penalties | stream
    assert value.post_data_json == wanted
    assert value.headers["x-on-disconnect"] == "detach=60"
    assert await playground.ended()
