"""Asks the gateway whether a request would be served, until it would."""

import asyncio
from collections.abc import Callable

import aiohttp
import orjson

PAUSE_S = 0.05
PATIENCE_S = aiohttp.ClientTimeout(total=2.0)


async def wait_until_ready(url: str, say: Callable[[str], None]) -> None:
    """Returns once GET `url`/ready answers 200; until then `say` gets a line whenever what it answers changes."""
    said = ""
    async with aiohttp.ClientSession(timeout=PATIENCE_S) as session:
        while True:
            ready, line = await _ask(session, f"{url}/ready")
            if ready:
                return
            if line and line != said:
                say(f"waiting: {line}")
                said = line
            await asyncio.sleep(PAUSE_S)


async def _ask(session: aiohttp.ClientSession, url: str) -> tuple[bool, str]:
    try:
        async with session.get(url, ssl=False) as response:  # nothing secret is said, so whoever answers may
            return response.status == 200, progress_line(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False, ""


def progress_line(body: bytes) -> str:
    """{"message": "loading weights", "progress": 0.42} as `loading weights (42 %)`; anything else as nothing."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(answer, dict) or not isinstance(message := answer.get("message"), str):
        return ""
    progress = answer.get("progress")
    return f"{message} ({int(progress * 100)} %)" if isinstance(progress, int | float) and message else message
