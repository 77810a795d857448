"""Which web pages may call: none but those that are named, and those can read every answer."""

from pathlib import Path

import pytest

from services.gateway.config import GatewayConfig
from shared.errors import ConfigError
from shared.frames import Frame
from tests.unit.gateway.fakes import a_chat, a_world, start

PAGE, OTHER = "https://page.example", "https://other.example"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("setting", "origin", "told"),
    [
        ("", PAGE, None),
        (PAGE, PAGE, PAGE),
        (f"{OTHER}, {PAGE}", PAGE, PAGE),
        (PAGE, OTHER, None),
        (PAGE, PAGE + ".evil.example", None),
        ("*", OTHER, "*"),
    ],
)
async def test_the_question_before_a_call_is_answered_for_those_who_may(
    checkpoint: Path, setting: str, origin: str, told: str | None
) -> None:
    """It bears no key, and is let through without one; nobody else learns anything."""
    async with a_world(checkpoint, ready=False, cors_origins=setting, api_key="key") as world:
        response = await world.http.options(CHAT, headers=ASKS | {"Origin": origin})
        assert response.headers.get("Access-Control-Allow-Origin") == told
        if told is None:
            assert response.status != 204 and "Access-Control-Allow-Headers" not in response.headers
        else:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Headers"] == ASKS["Access-Control-Request-Headers"]
            assert "POST" in response.headers["Access-Control-Allow-Methods"]


async def test_a_page_reads_streams_errors_and_the_headers_it_needs(checkpoint: Path) -> None:
    async with a_world(checkpoint, cors_origins=PAGE) as world:
        asking = start(world.http.post(CHAT, json=a_chat(stream=True), headers={"Origin": PAGE}))
        parent = await world.parent()
        await world.detokenizer.push(Frame(parent, "1", "data: [DONE]\n\n", last=True, after=""))
        refused = await world.http.post(CHAT, data=b"{", headers={"Origin": PAGE, "Content-Type": "application/json"})
        for response, status in ((await asking, 200), (refused, 400)):
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert {"X-Request-Id", "Retry-After"} <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
            assert response.headers["Vary"] == "Origin"
        response = await world.http.get("/v1/models", headers={"Origin": OTHER})
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"  # or a cache would give it to the page


async def test_headers_that_are_none_are_not_echoed(checkpoint: Path) -> None:
    async with a_world(checkpoint, ready=False, cors_origins="*") as world:
        asks = ASKS | {"Origin": PAGE, "Access-Control-Request-Headers": "a" * 2000}
        response = await world.http.options(CHAT, headers=asks)
        assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("origins", ["page.example", "https://page.example/", "https://a b", "null", "*, ftp://x"])
def test_an_origin_that_no_browser_sends_is_a_mistake(origins: str) -> None:
    with pytest.raises(ConfigError, match="cors_origins"):
        GatewayConfig(cors_origins=origins)
