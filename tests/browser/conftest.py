"""Debian's Chromium on the page of a whole set: a simulated engine with one row, whose answers are slow and known."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.playground import Playground
from tests.e2e.stack import Stack

KEY = "sesame"
ENGINE = "--max-num-seqs 1 --sim-tokens-per-second 300"
FLAGS = (
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is. Playwright brings none along: `make test` installs Debian's where it may."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on the PATH (Debian: apt install chromium)")
    return found


@pytest.fixture(scope="session")
def stack(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Not started where no browser would look at it."""
    flags = ("--device", "sim", "--engine-args", ENGINE, "--api-key", KEY)
    with Stack(tmp_path_factory.mktemp("run"), *flags) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        yield await playwright.chromium.launch(executable_path=chromium, args=FLAGS)


@pytest_asyncio.fixture(loop_scope="session")
async def playground(browser: Browser, stack: Stack) -> AsyncIterator[Playground]:
    """A browser that has never been here, with the key. Whatever the page complains of fails the test."""
    async with Playground.opened(browser, stack.url, KEY) as opened:
        yield opened
    assert not opened.complaints
