"""The page at `/docs`: every operation of the document, in both colours, on a telephone, behind a key."""

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import KEY
from tests.browser.playground import PATIENCE_MS, Scheme
from tests.e2e.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
async def test_the_reference_shows_every_operation(width: int, scheme: Scheme, browser: Browser, stack: Stack) -> None:
    """After the key was given; nothing is wider than the screen, and nothing is complained of."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        document = await (await http.get(f"{stack.url}/openapi.json")).json()
    shown = [path for path in document["paths"] if not path.endswith((".css", ".js"))]
    page = await browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{stack.url}/docs")
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("section h2")).to_have_count(1 + sum(len(document["paths"][path]) for path in shown))
    for path in shown:
        await expect(page.locator("section h2", has_text=path).first).to_be_attached()
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    await page.locator("nav a", has_text="/v1/chat/completions").click()
    chat = page.locator("section").filter(has=page.locator("h2", has_text="/v1/chat/completions"))
    await expect(chat.locator("h2")).to_be_in_viewport()
    await expect(chat.get_by_text("top_logprobs", exact=True)).to_be_attached()
    assert f"curl {stack.url}/v1/chat/completions -X POST" in await chat.locator("pre").inner_text()
    assert not complaints
    await page.close()
