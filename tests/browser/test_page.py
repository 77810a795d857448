"""The page itself: colours, width, keys, conversations, the API key."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import KEY
from tests.browser.playground import Playground
from tests.e2e.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

NARROW = {"width": 390, "height": 844}
MARKDOWN = (Path(__file__).parent / "answer.md").read_text(encoding="utf-8")
GROUND = "getComputedStyle(document.documentElement).backgroundColor"
DARK, LIGHT = "rgb(21, 23, 25)", "rgb(255, 255, 255)"
# What the page keeps of a conversation, as it would be after a long answer.
KEPT = {
    "id": "1",
    "title": "Show me everything",
    "updated": 1,
    "messages": [
        {"id": "q", "role": "user", "text": "Show me everything " + "w" * 300},
        {"id": "a", "role": "assistant", "state": "done", "text": MARKDOWN, "tokens": 9, "request": "chatcmpl-0"},
    ],
}
KEEP = f"localStorage.setItem('sluice.chat.1', {json.dumps(json.dumps(KEPT))}); sessionStorage['sluice.opened'] = '1'"


@pytest.mark.parametrize(("system", "first", "second"), [("dark", DARK, LIGHT), ("light", LIGHT, DARK)])
async def test_colours_are_the_systems_until_somebody_chooses(
    browser: Browser, stack: Stack, system: str, first: str, second: str
) -> None:
    """The switch gives the others, and they stay over a reload."""
    async with Playground.opened(browser, stack.url, KEY, color_scheme=system) as playground:
        assert await playground.page.evaluate(GROUND) == first
        await playground.page.get_by_label("Dark colours").click()
        assert await playground.page.evaluate(GROUND) == second
        await playground.page.reload()
        assert await playground.page.evaluate(GROUND) == second
        await expect(playground.page.get_by_label("Dark colours")).to_have_attribute(
            "aria-pressed", "true" if second == DARK else "false"
        )


async def test_a_telephones_width_is_enough(browser: Browser, stack: Stack) -> None:
    """Nothing is wider than the screen, whatever a message holds; the lists are drawers that can be closed again."""
    async with Playground.opened(browser, stack.url, KEY, viewport=NARROW) as playground:
        page = playground.page
        await page.evaluate(KEEP)
        await page.reload()
        await expect(playground.text.locator("table")).to_be_attached()
        wide = "[document.documentElement, document.querySelector('#scroll')].map((e) => e.scrollWidth - e.clientWidth)"
        assert await page.evaluate(wide) == [0, 0]
        await expect(page.get_by_role("button", name="New chat")).to_be_hidden()
        await page.get_by_role("button", name="Conversations", exact=True).click()
        await expect(page.get_by_role("button", name="New chat")).to_be_in_viewport()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="New chat")).to_be_hidden()
        await playground.set(max_tokens=3)
        assert await page.evaluate(wide) == [0, 0]
        await playground.send("Hello")
        await playground.ended()
        assert await page.evaluate(wide) == [0, 0]


async def test_the_keyboard_alone_is_enough(playground: Playground) -> None:
    """Whatever can be done can be reached with Tab, in the order of the page, and says what it is."""
    page, keys = playground.page, playground.page.keyboard
    await playground.set(temperature=0, max_tokens=40)
    await expect(page.get_by_label("Settings", exact=True).and_(page.get_by_role("button"))).to_be_focused()
    await page.reload()
    await expect(playground.question).to_be_focused()
    await keys.type("One line")
    await keys.press("Shift+Enter")
    await keys.type("and one more")
    await keys.press("Enter")
    await expect(playground.question).to_be_focused()
    first = await playground.ended()
    reached = await names_in_order(playground)
    wanted = ["Skip to the message box", "New chat", "One line and one more", "Delete: One line and one more"]
    wanted += ["Dark colours", "Settings", "Copy the message", "Edit and send again", "timeline", "Copy the answer"]
    assert reached == [*wanted, "Another answer", "Message", "Send"]
    await page.get_by_label("Edit and send again").focus()
    await keys.press("Enter")
    await keys.press("Escape")
    await expect(page.get_by_label("Edit and send again")).to_be_focused()
    await keys.press("Enter")
    await keys.press("ControlOrMeta+a")
    await keys.type("Another line")
    await keys.press("Enter")
    await expect(page.get_by_role("article", name="You")).to_have_text(["Another line"])
    second = await playground.ended()
    assert second != first and second == await playground.uncut("Another line", 40)


async def names_in_order(playground: Playground) -> list[str]:
    """What Tab stops at, from the beginning of the page to its end."""
    name = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText.trim()"
    await playground.page.evaluate("document.activeElement.blur(), document.querySelector('.skip').focus()")
    names = [await playground.page.evaluate(name)]
    while names[-1] and len(names) < 40:
        await playground.page.keyboard.press("Tab")
        names.append(await playground.page.evaluate(name))
        if names[-1] == "Send":
            return names
    return names


async def test_another_answer_takes_the_place_of_the_last(playground: Playground) -> None:
    """With another seed it is another one; the conversation has one answer in any case."""
    await playground.set(temperature=1, seed=1, max_tokens=20)
    await playground.send("Dice")
    first = await playground.ended()
    await playground.set(seed=2)
    await playground.page.get_by_label("Another answer").click()
    await expect(playground.text).not_to_have_text(first)
    assert await playground.ended() != first
    assert await playground.page.get_by_role("article").count() == 2


async def test_conversations_are_kept_and_an_answer_goes_on_while_another_is_shown(playground: Playground) -> None:
    """Deleting one can be undone, and all are there in the next life of the page."""
    page = playground.page
    await playground.set(temperature=0, max_tokens=250)
    await playground.send("The long one")
    await playground.begun()
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    await page.get_by_role("button", name="The long one", exact=True).click()
    assert await playground.ended() == await playground.uncut("The long one", 250)
    await page.get_by_label("Delete: The long one").click()
    await expect(page.get_by_role("article")).to_have_count(0)
    await page.get_by_role("button", name="Undo").click()
    await page.reload()
    assert await playground.ended() == await playground.uncut("The long one", 250)


async def test_only_the_newest_conversations_are_kept(playground: Playground) -> None:
    """Fifty, and none that cannot be read: what others left under our names does no harm."""
    one = json.dumps(KEPT | {"id": "ID", "updated": 0})
    await playground.page.evaluate(
        f"for (let i = 100; i < 160; i++) localStorage.setItem(`sluice.chat.${{i}}`, {json.dumps(one)}.replace('ID', i)"
        ".replace('\"updated\": 0', `\"updated\": ${i}`)); localStorage.setItem('sluice.chat.7', '{')"
    )
    await playground.page.reload()
    await playground.set(max_tokens=3)
    await playground.send("The newest")
    await playground.ended()
    lines = playground.page.locator("#conversations li")
    await expect(lines).to_have_count(50)
    await expect(lines.first).to_have_text("The newest")
    kept = await playground.page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('sluice.chat.'))")
    assert len(kept) == 50 and "sluice.chat.159" in kept and "sluice.chat.7" not in kept


async def test_who_has_scrolled_up_is_left_there(playground: Playground) -> None:
    """The end is followed only while it is in sight; a button leads back to it."""
    page = playground.page
    await page.evaluate(KEEP)
    await page.reload()
    await playground.set(temperature=0, max_tokens=300)
    await playground.send("A few words more")
    area = "document.querySelector('#scroll')"
    rest = f"{area}.scrollHeight - {area}.clientHeight - {area}.scrollTop"
    await playground.begun(200)
    assert await page.evaluate(rest) <= 8
    await page.mouse.move(600, 300)
    await page.mouse.wheel(0, -300)
    await expect(page.get_by_label("To the newest message")).to_be_visible()
    top = await page.evaluate(f"{area}.scrollTop")
    await playground.begun(len(await playground.text.inner_text()) + 200)
    assert await page.evaluate(f"{area}.scrollTop") == top
    await page.get_by_label("To the newest message").click()
    await playground.ended()
    assert await page.evaluate(rest) <= 8


async def test_a_server_with_keys_is_asked_in_a_dialog(browser: Browser, stack: Stack) -> None:
    """A wrong key is called wrong; the right one opens the page, and no other tab and no later day knows it."""
    async with Playground.opened(browser, stack.url, "") as playground:
        page, field = playground.page, playground.page.get_by_label("API key", exact=True)
        await page.get_by_role("button", name="Not now").click()
        await playground.send("Hello")
        await field.fill("wrong")
        await field.press("Enter")
        await expect(page.get_by_role("dialog")).to_contain_text("The server does not know this key.")
        await field.fill(KEY)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("heading", name="sluice-demo")).to_be_visible()
        assert await playground.begun()
        await page.keyboard.press("Escape")
        assert KEY not in json.dumps(await page.evaluate("({ ...localStorage })"))
        assert not playground.complaints
        other = await page.context.new_page()
        await other.goto(stack.url)
        await expect(other.get_by_role("dialog")).to_be_visible()


async def test_an_answer_is_never_markup(playground: Playground) -> None:
    """Elements, scripts and addresses that a model writes are shown as the text that they are."""
    hostile = "<img src=x onerror=alert(1)> <script>alert(1)</script> [go](javascript:alert(1)) <b>bold</b> `<i>`"
    kept = KEPT | {"messages": [{"id": "a", "role": "assistant", "state": "done", "text": hostile}]}
    await playground.page.evaluate(f"localStorage.setItem('sluice.chat.1', {json.dumps(json.dumps(kept))})")
    await playground.page.evaluate("sessionStorage.setItem('sluice.opened', '1')")
    await playground.page.reload()
    await expect(playground.text).to_have_text(hostile.replace("`", ""))
    assert await playground.text.locator("img, script, b, i, a").count() == 0
