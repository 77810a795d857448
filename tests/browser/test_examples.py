"""The pages of `examples/browser`, served from another origin than the gateway's, as anybody's page would be."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from playwright.async_api import Browser, Page, expect

from tests.browser.playground import PATIENCE_MS, Scheme
from tests.e2e.stack import ROOT, Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "sesame"
QUESTION = "Tell me a story about a fox."
PAGES = ("fetch", "eventsource")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere() -> AsyncIterator[str]:
    """The origin of the pages."""
    app = web.Application()
    app.router.add_static("/", ROOT / "examples" / "browser")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture(scope="module")
def open_stack(chromium: str, elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """It lets pages of that origin call, and of no other."""
    flags = ("--device", "sim", "--engine-args", "--sim-tokens-per-second 300", "--api-key", KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_CORS_ORIGINS", elsewhere)
        with Stack(tmp_path_factory.mktemp("run"), *flags) as running:
            yield running


@asynccontextmanager
async def opened(browser: Browser, name: str, elsewhere: str, stack: Stack, key: str = KEY) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 700, "height": 500})
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(f"{elsewhere}/{name}.html?url={stack.url}&key={key}")
    yield page
    await context.close()


async def told(stack: Stack) -> str:
    body: dict[str, object] = {"model": "sluice-demo", "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"temperature": 0, "max_tokens": 400}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        ClientSession() as http,
        http.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        return str((await answer.json())["choices"][0]["message"]["content"])


async def idle(stack: Stack) -> None:
    async with asyncio.timeout(10):
        while (await asyncio.to_thread(stack.metrics, "engine-0"))["sluice_engine_ledger_held"]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", PAGES)
async def test_an_answer_comes_and_can_be_stopped(
    name: str, browser: Browser, elsewhere: str, open_stack: Stack
) -> None:
    """Whole, it is what any client reads; stopped in the middle, the engine stops too."""
    whole = await told(open_stack)
    async with opened(browser, name, elsewhere, open_stack) as page:
        answer, state = page.locator("output"), page.locator("#state")
        await page.get_by_role("button", name="Ask").click()
        await expect(answer).to_have_text(whole)
        await expect(state).to_contain_text("done" if name == "eventsource" else "tokens in")
        await page.get_by_role("button", name="Ask").click()
        await expect(answer).not_to_be_empty()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.get_by_role("button", name="Stop")).to_be_disabled()
        await idle(open_stack)
        assert whole.startswith(await answer.inner_text()) and len(await answer.inner_text()) < len(whole)


async def test_an_event_source_goes_on_after_a_reload_and_after_a_lost_gateway(
    browser: Browser, elsewhere: str, open_stack: Stack
) -> None:
    """Nothing is doubled and nothing is missing."""
    whole = await told(open_stack)
    async with opened(browser, "eventsource", elsewhere, open_stack) as page:
        answer = page.locator("output")
        await page.get_by_role("button", name="Ask").click()
        await expect(answer).not_to_be_empty()
        await page.reload()
        await expect(answer).not_to_be_empty()
        open_stack.process("gateway").kill()
        await expect(page.locator("#state")).to_have_text("connection lost; trying again")
        await expect(answer).to_have_text(whole)
    await open_stack.serving()


@pytest.mark.parametrize("name", PAGES)
async def test_what_the_server_refuses_is_shown(name: str, browser: Browser, elsewhere: str, open_stack: Stack) -> None:
    async with opened(browser, name, elsewhere, open_stack, key="wrong") as page:
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator("#state")).to_contain_text("API key")


async def test_a_page_of_another_origin_is_not_let_in(browser: Browser, elsewhere: str, open_stack: Stack) -> None:
    """The same page by another name of this machine."""
    async with opened(browser, "fetch", elsewhere.replace("127.0.0.1", "localhost"), open_stack) as page:
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator("#state")).to_contain_text("fetch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_fit_a_telephone(scheme: Scheme, browser: Browser, elsewhere: str) -> None:
    for name in PAGES:
        page = await browser.new_page(viewport={"width": 390, "height": 700}, color_scheme=scheme)
        await page.goto(f"{elsewhere}/{name}.html")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.close()
