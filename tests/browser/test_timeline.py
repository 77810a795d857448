"""The timeline's page: on services that say what they are told to, and on a whole set."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Locator, Page, expect

from shared.telemetry.spans import request_digest
from tests.browser.conftest import KEY
from tests.e2e.stack import ROOT, Stack
from tests.unit.gateway.fakes import World, a_world
from tests.unit.gateway.test_timeline import a_service, announce
from tests.unit.gateway.timeline_cases import a_second, body

pytestmark = pytest.mark.asyncio(loop_scope="session")
MANY = 20_000  # spans
COLOURED = """(wanted) => {
  const canvas = document.getElementById("lanes");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let i = 0; i < pixels.length; i += 4)
    if (wanted.every((part, n) => Math.abs(pixels[i + n] - part) < 3)) found++;
  return found > 500;
}"""
FRAMES = """async () => {
  const canvas = document.getElementById("lanes");
  const took = [];
  let last = 0;
  for (let i = 0; i < 40; i++) {
    const turn = { deltaY: i < 20 ? -40 : 40, clientX: 700, clientY: 400, cancelable: true };
    canvas.dispatchEvent(new WheelEvent("wheel", turn));
    const now = await new Promise(requestAnimationFrame);
    if (last) took.push(now - last);
    last = now;
  }
  return took.sort((a, b) => a - b)[20];
}"""
PLAN = [0xF0, 0x8C, 0x00]  # the colour of gaps that planning caused


@dataclass
class Timeline:
    page: Page
    complaints: list[str]

    @property
    def details(self) -> Locator:
        return self.page.get_by_role("complementary", name="Details")

    @property
    def legend(self) -> Locator:
        return self.page.locator("#legend")

    @property
    def search(self) -> Locator:
        return self.page.get_by_role("searchbox")

    async def shows(self, colour: list[int]) -> None:
        """Enough of the lanes is of this colour, or will be in a moment."""
        await self.page.wait_for_function(COLOURED, arg=colour, timeout=15_000)

    async def saved(self) -> dict[str, Any]:
        async with self.page.expect_download() as download:
            await self.page.get_by_role("button", name="Download").click()
        text = Path(await (await download.value).path()).read_text()
        found: dict[str, Any] = json.loads(text)
        return found


@asynccontextmanager
async def opened(browser: Browser, url: str, key: str, query: str = "", **options: Any) -> AsyncIterator[Timeline]:
    """Whatever the page complains of fails the test."""
    context = await browser.new_context(**({"viewport": {"width": 1200, "height": 800}} | options))
    try:
        if key:
            await context.add_init_script(f"sessionStorage.setItem('sluice.key', {json.dumps(key)})")
        page = await context.new_page()
        timeline = Timeline(page, [])
        page.on("pageerror", lambda error: timeline.complaints.append(str(error)))
        await page.goto(f"{url}/debug/timeline{query}")
        yield timeline
        assert not timeline.complaints
    finally:
        await context.close()


def told(kind: str, _: web.Request) -> bytes:
    return body(kind, "x", a_second(time.time_ns() // 10**8 * 10**8)[kind])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world() -> AsyncIterator[World]:
    """A gateway with a second one, an engine and a detokenizer, which all tell of the same second, always the last."""
    kinds = {"gateway-2": "gateway", "engine": "engine", "detokenizer": "detokenizer"}
    async with AsyncExitStack() as stack:
        services = {name: a_service(partial(told, kind)) for name, kind in kinds.items()}
        urls = {name: await stack.enter_async_context(service) for name, service in services.items()}
        world = await stack.enter_async_context(a_world(ROOT / "models" / "demo", api_key=KEY))
        await announce(world, **urls)
        yield world


async def test_gaps_of_the_device_are_coloured_and_summed_by_their_cause(browser: Browser, world: World) -> None:
    """In the visible time: nearer to a gap its share grows."""
    async with opened(browser, world.url, KEY, "?seconds=60") as timeline:
        await expect(timeline.legend).to_contain_text(
            re.compile(r"device busy 97\.\d %idle:plan 0\.[67] %submit 0\.[34]")
        )
        await timeline.page.locator("canvas").focus()
        await timeline.page.keyboard.press("g")
        await expect(timeline.details).to_contain_text("idle: ")
        await expect(timeline.details).to_contain_text("2.50 ms")
        await timeline.search.fill("idle: plan")
        await timeline.search.press("Enter")
        for _ in range(12):
            await timeline.search.press("Enter")
            if "2.50 ms" in await timeline.details.inner_text():
                break
        await expect(timeline.details).to_contain_text("the next step was still being planned")
        await timeline.shows(PLAN)
        await timeline.details.get_by_role("button", name="step ").first.click()
        await expect(timeline.details.get_by_role("heading", level=2)).to_have_text("step 9")


async def test_a_request_is_found_by_its_id_and_its_address_does_not_give_it_away(
    browser: Browser, world: World
) -> None:
    """As the playground links it; from there one gets to its steps and back."""
    async with opened(browser, world.url, KEY, "?seconds=60&request=id-2") as timeline:
        title = timeline.details.get_by_role("heading", level=2)
        await expect(title).to_have_text("POST /v1/chat/completions")
        assert timeline.page.url.endswith(f"?digest={request_digest('id-2')}")
        assert "id-2" not in await timeline.page.content()
        await timeline.details.get_by_role("button", name="step 20 ").click()
        await expect(title).to_have_text("step 20")
        await timeline.details.get_by_role("button", name="generate").first.click()
        await expect(title).to_have_text("generate")
        await timeline.details.get_by_role("button", name="decode").click()
        await expect(timeline.details).to_contain_text("first token")
        await timeline.page.get_by_role("button", name="Close").first.click()
        await expect(timeline.details).to_be_hidden()


async def test_search_counts_selects_and_goes_round(browser: Browser, world: World) -> None:
    async with opened(browser, world.url, KEY, "?seconds=60") as timeline:
        await timeline.search.fill("prefill")
        await expect(timeline.page.locator("#matches")).to_have_text("6")
        for at in (1, 2, 3, 4, 5, 6, 1):
            await timeline.search.press("Enter")
            await expect(timeline.page.locator("#matches")).to_have_text(f"{at} of 6")
        await expect(timeline.details.get_by_role("heading", level=2)).to_have_text("prefill")
        await timeline.search.fill("nothing like it")
        await expect(timeline.page.locator("#matches")).to_have_text("none")


async def test_what_is_saved_is_a_trace_for_perfetto(browser: Browser, world: World) -> None:
    async with opened(browser, world.url, KEY, "?seconds=60") as timeline:
        await expect(timeline.legend).to_contain_text("device busy")
        document = await timeline.saved()
    kinds = {event["ph"] for event in document["traceEvents"]}
    assert kinds == {"M", "X", "i", "s", "f"}
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in document["traceEvents"] if event["ph"] == "X")


async def test_who_has_no_key_is_asked_for_one(browser: Browser, world: World) -> None:
    async with opened(browser, world.url, "", "?seconds=60") as timeline:
        for word, note in (("wrong", "does not know this key"), (KEY, "")):
            await timeline.page.get_by_label("API key").fill(word)
            await timeline.page.get_by_role("button", name="Show").click()
            if note:
                await expect(timeline.page.locator("#key-note")).to_contain_text(note)
        await expect(timeline.legend).to_contain_text("device busy")


async def test_live_follows_pause_stands_still_and_a_finger_moves(browser: Browser, world: World) -> None:
    async with opened(browser, world.url, KEY, "?seconds=60", viewport={"width": 390, "height": 780}) as timeline:
        await expect(timeline.legend).to_contain_text("device busy")
        async with timeline.page.expect_response("**/timeline.json*"):
            pass  # the next second's
        live = timeline.page.locator("#live")
        await live.click()
        await expect(live).to_have_text("Paused")
        asked: list[str] = []
        timeline.page.on("request", lambda request: asked.append(request.url))
        await timeline.page.wait_for_timeout(1500)
        assert asked == []
        before = await timeline.legend.inner_text()
        await timeline.page.get_by_role("button", name="Fit").click()
        box = await timeline.page.locator("canvas").bounding_box()
        assert box
        await timeline.page.mouse.move(box["x"] + 150, box["y"] + 10)
        await timeline.page.mouse.down()
        await timeline.page.mouse.move(box["x"] + 250, box["y"] + 12, steps=4)
        await timeline.page.mouse.up()
        await expect(timeline.legend).not_to_have_text(before)


async def test_twenty_thousand_spans_stay_smooth(browser: Browser, world: World) -> None:
    now_ns = time.time_ns()
    spans = [span for n in range(100) for one in a_second(now_ns - n * 10**8, first=n * 100).values() for span in one]
    spans += [span for n in range(100) for span in a_second(now_ns - n * 10**7, 8, 1, n * 100 + 20_000)["gateway"]]
    spans += [span for n in range(100) for span in a_second(now_ns - n * 10**7, 8, 1, n * 100 + 40_000)["gateway"]]
    assert len(spans) >= MANY - 100
    async with a_service(lambda _: body("engine", "x", spans)) as url:
        await announce(world, **{"engine-many": url})
        async with opened(browser, world.url, KEY, "?seconds=60") as timeline:
            await expect(timeline.legend).to_contain_text("device busy")
            await timeline.page.locator("#live").click()
            assert await timeline.page.evaluate(FRAMES) < 100, "half of the frames, on a machine that draws by CPU"


async def test_a_whole_set_is_drawn_without_a_collector(browser: Browser, stack: Stack) -> None:
    """Each service says what it did; none is missing."""
    words = {"model": "sluice-demo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        answer = await http.post(f"{stack.url}/v1/chat/completions", json=words)
        assert answer.status == 200
    async with opened(browser, stack.url, KEY) as timeline:
        await expect(timeline.legend).to_contain_text("in sight")
        await expect(timeline.page.locator("#note")).to_be_hidden()
        services = (await timeline.saved())["otherData"]["services"]
    assert {one["kind"] for one in services} == {"gateway", "engine", "detokenizer"}
