"""The page as a person uses it: what can be seen of it and done on it, in a few words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import aiohttp
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Response, expect

MODEL = "sluice-demo"
PATIENCE_MS = 15_000
Scheme = Literal["dark", "light"]
_UNCUT: dict[tuple[str, int], str] = {}
expect.set_options(timeout=PATIENCE_MS)


class Playground:
    """`complaints`: errors of the console, of scripts and of files of the page; `asked`: each call of the API."""

    def __init__(self, page: Page, url: str, key: str) -> None:
        self.page = page
        self.url = url
        self._key = key
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", self._on_response)
        page.on("request", self._on_request)

    @classmethod
    @asynccontextmanager
    async def opened(cls, browser: Browser, url: str, key: str, **options: Any) -> AsyncIterator["Playground"]:
        """`key`: what this tab knows already, "" for nothing."""
        context = await browser.new_context(**({"viewport": {"width": 1100, "height": 700}} | options))
        context.set_default_timeout(PATIENCE_MS)
        try:
            if key:
                await context.add_init_script(f"sessionStorage.setItem('sluice.key', {json.dumps(key)})")
            playground = cls(await context.new_page(), url, key)
            await playground.page.goto(url)
            yield playground
        finally:
            await context.close()

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    @property
    def question(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    @property
    def answer(self) -> Locator:
        """The newest."""
        return self.page.get_by_role("article", name="Answer").last

    @property
    def text(self) -> Locator:
        return self.answer.locator(".markdown")

    async def set(self, **fields: object) -> None:
        """In the settings, by their names."""
        await self.page.get_by_label("Settings", exact=True).and_(self.page.get_by_role("button")).click()
        for name, value in fields.items():
            await self.page.locator(f"#parameters [name={name}]").fill(str(value))
        await self.page.get_by_label("Close the settings").click()

    async def send(self, text: str) -> None:
        await self.question.fill(text)
        await self.question.press("Enter")

    async def begun(self, characters: int = 1) -> str:
        """What is there of the newest answer, once it has so many."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while len(text := await self.text.inner_text()) < characters:
                await asyncio.sleep(0.02)
        return text

    async def ended(self) -> str:
        """The newest answer, once nothing more comes."""
        await expect(self.answer).to_have_attribute("aria-busy", "false")
        return await self.text.inner_text()

    async def uncut(self, text: str, tokens: int) -> str:
        """What the API answers to this question at once, greedy; that is always the same, so it is asked once."""
        if (text, tokens) not in _UNCUT:
            _UNCUT[text, tokens] = await self._answer_to(text, tokens)
        return _UNCUT[text, tokens]

    async def _answer_to(self, text: str, tokens: int) -> str:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0}
        headers = {"Authorization": f"Bearer {self._key}"}
        async with (
            aiohttp.ClientSession(self.url, headers=headers) as http,
            http.post("/v1/chat/completions", json=body) as response,
        ):
            answer = await response.json()
            assert response.status == 200, answer
        return seen(answer["choices"][0]["message"]["content"])

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium's own line about a status or a connection; those of the page's files are looked at below.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and "/v1/" not in response.url and not response.url.endswith("/ready"):
            self.complaints.append(f"{response.status} {response.url}")

    def _on_request(self, request: Request) -> None:
        if "/v1/chat" in request.url or "/v1/streams" in request.url:
            self.asked.append(f"{request.method} {request.url.removeprefix(self.url)}")


def seen(text: str) -> str:
    """Words as a browser shows them: without blanks at the ends, and one where there are several."""
    return " ".join(text.split())
