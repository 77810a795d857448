"""What a client's leaving means for its request: the header `X-On-Disconnect`. Pure."""

import re
from dataclasses import dataclass

from shared.errors import ClientError

HEADER = "X-On-Disconnect"
LONGEST_S = 86_400
RETRY_S = 30.0  # a client that sends an Idempotency-Key may come back and ask again
_DETACH = re.compile(r"detach=([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Leaving:
    """`cancels`: once its client has gone. `unread_s`: how long it runs while nobody reads it, whoever died meanwhile;
    None: to its end."""

    cancels: bool
    unread_s: float | None


def leaving(header: str | None, orphan_s: float, *, retries: bool) -> Leaving:
    """`orphan_s` is for a request that is cancelled by its client's leaving, and whose gateway died before the client.
    Without a header, one that `retries` gets time for that. Raises ClientError."""
    text = "" if header is None else header.strip().lower()
    if header is None and retries:
        return Leaving(False, RETRY_S)
    if header is None or text == "cancel":
        return Leaving(True, orphan_s)
    if text == "continue":
        return Leaving(False, None)
    if (match := _DETACH.fullmatch(text)) and int(match[1]) <= LONGEST_S:
        return Leaving(False, float(match[1]))
    message = f"{HEADER} must be cancel, continue or detach=SECONDS (up to {LONGEST_S}), not {text[:100]}"
    raise ClientError(message, param=HEADER, code="invalid_value")
