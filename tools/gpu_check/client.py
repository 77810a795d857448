"""Makes a share of the load and streams every answer: python -m tools.gpu_check.client URL MODEL.

The first line it reads is a JSON object: `asks`, a list of [prompt, tokens], and `seed`. It prints "ready", waits for a
second line, sends all requests at once, and prints a JSON object: tokens, events, and when the first bytes and the last
one came (CLOCK_MONOTONIC, which all processes share).
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp

from tools.gpu_check.workload import TEMPERATURE

FOREVER = aiohttp.ClientTimeout(total=None)


class Heard:
    """Of all answers together."""

    def __init__(self) -> None:
        self.tokens = 0  # as the server counts them
        self.events = 0
        self.firsts: list[float] = []
        self.last = 0.0

    async def ask(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> None:
        """One streamed completion. RuntimeError if it is refused or ends in an error."""
        usage, first = 0, 0.0
        async with session.post("/v1/completions", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {await response.text()}")
            async for line in response.content:
                if line.startswith(b"data: {"):
                    first = first or time.monotonic()
                    self.events += 1
                    if b'"usage":{' in line or b'"usage": {' in line:
                        usage = json.loads(line[6:])["usage"]["completion_tokens"]
                    elif b'"error"' in line and "error" in json.loads(line[6:]):
                        raise RuntimeError(line.decode())
        self.tokens += usage
        self.firsts.append(first)
        self.last = max(self.last, time.monotonic())


async def load(url: str, model: str, share: dict[str, Any]) -> Heard:
    common = {"model": model, "temperature": TEMPERATURE, "ignore_eos": True, "stream": True}
    common["stream_options"] = {"include_usage": True}
    bodies = [
        common | {"prompt": prompt, "max_tokens": tokens, "seed": share["seed"] + number}
        for number, (prompt, tokens) in enumerate(share["asks"])
    ]
    heard = Heard()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=FOREVER) as session:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with asyncio.TaskGroup() as tasks:
            for body in bodies:
                tasks.create_task(heard.ask(session, body))
    return heard


def main(url: str, model: str) -> None:
    heard = asyncio.run(load(url, model, json.loads(sys.stdin.readline())))
    told = {"tokens": heard.tokens, "events": heard.events, "firsts": heard.firsts, "last": heard.last}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
