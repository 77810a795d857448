"""`Idempotency-Key`: however often a client repeats a call under one key, at whichever gateway, it runs once.

The key counts within an API key and a model. Who repeats a call reads what the first one started, from its beginning,
while it runs and after it has ended. A call that failed, was late or was cancelled has no answer to give: the next one
under its key runs anew, and takes its place by compare-and-set, so that still only one of many does.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import hdrs, web

from services.gateway.openai import ChatBody, CompletionBody
from shared.bus import Bus, Holder
from shared.errors import ClientError, Unprocessable
from shared.types import FinishReason, ParentId, request_id

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")
_FAILED = (FinishReason.CANCEL, FinishReason.ERROR, FinishReason.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Claim:
    """`key` is what the bus knows it by, `digest` stands for what is asked for."""

    key: str
    digest: str

    def check(self, holder: Holder) -> None:
        """Raises Unprocessable if somebody asked for something else under the key."""
        if holder.digest != self.digest:
            message = f"this {HEADER} was used before, with another body: send a new key for a new call"
            raise Unprocessable(message, param=HEADER, code="idempotency_key_reused")


@dataclass(frozen=True, slots=True)
class Earlier:
    """A call that was made under the same key."""

    parent: ParentId
    failed: bool  # and may be replaced


def key_of(request: web.Request) -> str | None:
    """The client's key, as it stands. Raises ClientError."""
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        message = f"{HEADER} must be 1 to 255 characters of ASCII that can be seen, without spaces"
        raise ClientError(message, param=HEADER, code="invalid_value")
    return key


def claim_of(request: web.Request, key: str, body: ChatBody | CompletionBody) -> Claim:
    """Null and absent, or another order of the same fields, make no other body."""
    who = request.headers.get(hdrs.AUTHORIZATION, "").encode("utf-8", "surrogateescape")
    scope = b"\0".join((sha256(who).digest(), body.model.encode("utf-8", "surrogatepass"), key.encode()))
    asked = f"{type(body).__name__}\0{body.model_dump_json()}"
    return Claim(sha256(scope).hexdigest(), sha256(asked.encode()).hexdigest())


async def find(bus: Bus, claim: Claim) -> Earlier | None:
    """The call that has the key. Raises BusDown, Unprocessable."""
    holder = await bus.holder(claim.key)
    if holder is None:
        return None
    claim.check(holder)
    outcome = await bus.outcome(request_id(holder.parent, 0))
    return Earlier(holder.parent, failed=outcome is not None and outcome.reason in _FAILED)
