"""How the page is served: to everybody, as it is, and under a policy that lets nothing else in."""

import re
from pathlib import Path

import pytest

from services.gateway import page
from tests.unit.gateway.fakes import a_world, error_of


async def test_the_page_needs_no_key_but_its_data_does(checkpoint: Path) -> None:
    """Somebody has to see the field into which the key goes."""
    async with a_world(checkpoint, ready=False, api_key="key") as world:
        response = await world.http.get("/")
        assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
        assert (await world.http.get("/assets/main.js")).status == 200
        assert (await world.http.get("/v1/models")).status == 401


async def test_every_file_of_the_page_is_served_as_what_it_is(checkpoint: Path) -> None:
    """A module that is not called JavaScript does not run, and nobody has to guess."""
    async with a_world(checkpoint, ready=False) as world:
        for path in page.FOLDER.iterdir():
            response = await world.http.get(f"/assets/{path.name}")
            assert response.status == 200 and await response.read() == path.read_bytes()
            assert response.content_type == page.TYPES[path.suffix]
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_policy_lets_nothing_in_from_elsewhere(checkpoint: Path) -> None:
    """No other host, nothing inline, no frame around it."""
    async with a_world(checkpoint, ready=False) as world:
        for path in ("/", "/assets/main.js"):
            headers = (await world.http.get(path)).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
            assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
            assert "unsafe" not in headers["Content-Security-Policy"] and "http" not in str(policy)
            assert headers["Referrer-Policy"] == "no-referrer"


async def test_a_browser_asks_each_time_and_is_told_when_nothing_changed(checkpoint: Path) -> None:
    """So a new release is seen at once, and an old one is not sent again."""
    async with a_world(checkpoint, ready=False) as world:
        first = await world.http.get("/")
        assert first.headers["Cache-Control"] == "no-cache"
        again = await world.http.get("/", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"] and "Content-Security-Policy" in again.headers
        assert (await world.http.get("/", headers={"If-None-Match": '"other"'})).status == 200


@pytest.mark.parametrize("name", ["nothing.js", "../page.py", "%2e%2e%2fpage.py", "..%2fapp.py", "main.js%00", "a/b"])
async def test_what_is_no_file_of_the_page_is_not_found(checkpoint: Path, name: str) -> None:
    """In OpenAI's words; names are looked up, and no path is made of them."""
    async with a_world(checkpoint, ready=False) as world:
        response = await world.http.get(f"{world.url}/assets/{name}")
        assert response.status == 404 and (await error_of(response))["code"] == "unknown_url"


def test_what_the_page_refers_to_is_there() -> None:
    """Every module, style and picture that a file of the page names, and no address of another host."""
    for path in page.FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        named = re.findall(r'"(?:assets|\.)/([\w.]+)(?:#\w+)?"', text)
        assert all(name in page.assets() for name in named), path
        hosts = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not hosts, path
        assert len(text.splitlines()) <= 260, path


def test_nothing_makes_markup_of_text() -> None:
    """The words of a model reach the page as text nodes only."""
    for path in page.FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            path
        )
