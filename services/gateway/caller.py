"""What a request says beside its body: who asks, in which lane, and by when. Pure."""

import math
from collections.abc import Mapping
from hashlib import blake2s

from aiohttp import hdrs

from services.gateway.openai import ChatBody, CompletionBody
from shared.errors import ClientError
from shared.types import Lane

LANE = "X-Lane"
READ_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")  # what OpenAI's clients will wait, seconds


def tenant_of(headers: Mapping[str, str], secret: str) -> str:
    """A short digest of the bearer token, the same at all gateways; "" if none is shown."""
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return ""
    key = blake2s(secret.encode()).digest()
    return blake2s(token.strip().encode("utf-8", "surrogateescape"), key=key, digest_size=6).hexdigest()


def lane_of(headers: Mapping[str, str], priority: int) -> Lane:
    """The header's word; without it what has a priority of 1 or more (a lower one is earlier) can wait."""
    match headers.get(LANE, "").strip().lower():
        case "":
            return "batch" if priority >= 1 else "interactive"
        case "interactive":
            return "interactive"
        case "batch":
            return "batch"
        case other:
            message = f"{LANE} must be interactive or batch, not {other[:100]}"
            raise ClientError(message, param=LANE, code="invalid_value")


def read_timeout_s(headers: Mapping[str, str]) -> float:
    """How long the client waits for a byte, as its library says; infinite if it says nothing that can be read."""
    said = [_seconds(headers[name]) for name in READ_TIMEOUTS if name in headers]
    return min(said, default=math.inf)


def life_s(body: ChatBody | CompletionBody, headers: Mapping[str, str], most_s: float) -> float:
    """How long the request may take: `timeout` of the body, and never more than `most_s`. A client that reads no stream
    will not read an answer that comes after its read timeout; one that reads a stream is kept by comments."""
    asked_s = most_s if body.timeout is None else body.timeout
    return min(asked_s, most_s, math.inf if body.stream else read_timeout_s(headers))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf  # not a number is neither
