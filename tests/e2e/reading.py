"""A client of event streams that can be cut anywhere, and goes on behind the last event it has whole."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

EVENT = re.compile(rb"(?:id: (.*)\n)?data: (.*)\n\n")


def story(seed: int, tokens: int, **more: Any) -> dict[str, Any]:
    fixed = {"model": "sluice-demo", "prompt": f"Once upon a time, {seed} ", "temperature": 1.0, "ignore_eos": True}
    return fixed | {"seed": seed, "max_tokens": tokens, "stream": True} | more


def session(url: str) -> aiohttp.ClientSession:
    """Each request on a connection of its own, so that it may meet any gateway."""
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(force_close=True), read_bufsize=1024)


@dataclass
class Reading:
    """What one client has of a stream, over all of its connections."""

    id: str = ""
    cursor: str = ""
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    done: bool = False
    cuts: int = 0
    begun: bool = False

    async def begin(self, http: aiohttp.ClientSession, body: dict[str, Any], most: int, **headers: str) -> None:
        """At most `most` bytes of the answer, then the connection is broken."""
        headers = {"Accept": "text/event-stream"} | headers
        async with http.post("/v1/completions", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            self.id = response.headers["X-Request-Id"]
            await self._read(response, most)

    async def go_on(self, http: aiohttp.ClientSession, most: int) -> None:
        """As `EventSource` does."""
        headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
        async with http.get(f"/v1/streams/{self.id}", headers=headers) as response:
            assert response.status == 200, await response.text()
            await self._read(response, most)

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> None:
        data = b""
        with suppress(aiohttp.ClientError):  # the other side has died
            while len(data) < most and (chunk := await response.content.read(most - len(data))):
                data += chunk
                self.begun = True
        self.take(data)
        self.cuts += not self.done
        response.close()

    def take(self, data: bytes) -> None:
        """The events of `data` that are whole."""
        for id, event in EVENT.findall(data):
            if event == b"[DONE]":
                self.done = True
                continue
            self.cursor = id.decode()
            for choice in json.loads(event)["choices"]:
                self.text += choice["text"] if "text" in choice else choice["delta"].get("content") or ""
                self.reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
