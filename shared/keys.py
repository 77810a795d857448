"""Every Redis key, named once. `model` is the served name."""

from urllib.parse import quote

from shared.types import Lane

GROUP = "engines"  # the consumer group on the requests streams; a consumer is an executor


def _of(model: str, *parts: str) -> str:
    return ":".join(("sluice", quote(model, safe=""), *parts))


def requests(model: str, lane: Lane) -> str:
    return _of(model, "requests", lane)


def tokens(model: str, executor: str, shard: int) -> str:
    return _of(model, "tokens", executor, str(shard))


def control(model: str) -> str:
    return _of(model, "control")


def submitted(model: str, parent: str) -> str:
    """Guards the submission of one client request (PROTOCOL 4)."""
    return _of(model, "submitted", parent)


def idempotency(model: str, key: str) -> str:
    """Guards the same by a client's own word for its request: the holder's id and what it asked for (PROTOCOL 4)."""
    return _of(model, "idempotency", key)


def done(model: str, request: str) -> str:
    return _of(model, "done", request)


def session(model: str, request: str) -> str:
    """How far a long request is (PROTOCOL 13)."""
    return _of(model, "session", request)


def dead(model: str) -> str:
    """A stream for people: requests that were given up, whole."""
    return _of(model, "dead")


def shard_version(model: str, shard: int) -> str:
    """The compare-and-set key of a shard's owner: "<nonce>:<counter>" (PROTOCOL 3)."""
    return _of(model, "shard", str(shard))


def shard_lease(model: str, shard: int) -> str:
    return _of(model, "detokenizer", str(shard))


def gateways(model: str) -> str:
    """A set: every gateway that may be alive."""
    return _of(model, "gateways")


def gateway_lease(model: str, gateway: str) -> str:
    return _of(model, "gateway", gateway)


def executors(model: str) -> str:
    """A set: every executor whose streams may exist."""
    return _of(model, "executors")


def boot(engine: str) -> str:
    return f"sluice:boot:{engine}"


def engine_lease(executor: str) -> str:
    return f"sluice:engine:{executor}"
