"""What each service may say to Redis: the one list from which `deploy/redis.acl` is made (`python -m shared.acl`).

Verbs and keys are those of `redis_bus.py` and `redis_owner.py`; nobody has EVAL, KEYS, CONFIG or FLUSHALL. Redis 6.2
knows no permissions of one verb on one key, so a service that may write one of its keys may write each of them.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType

_TRANSACTIONS = ("ping", "select", "watch", "unwatch", "multi", "exec", "discard", "time", "info")

VERBS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gateway": (*_TRANSACTIONS, "exists", "get", "mget", "sadd", "set", "smembers", "srem", "xadd", "xlen"),
        "engine": (
            *(*_TRANSACTIONS, "get", "set", "del", "sadd", "xadd", "xread", "xreadgroup", "xrevrange"),
            "xgroup|create",
        ),
        "detokenizer": (
            *(*_TRANSACTIONS, "exists", "get", "mget", "set", "del", "pexpire", "smembers", "srem", "xadd", "xread"),
            *("xrange", "xrevrange", "xpending", "xinfo|groups", "xgroup|create", "xgroup|delconsumer", "xack", "xdel"),
            *("xtrim",),
        ),
    }
)

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gateway": (
            *("*:requests:*", "*:control", "*:submitted:*", "*:idempotency:*", "*:done:*", "*:executors"),
            *("engine:*", "*:detokenizer:*", "*:gateways", "*:gateway:*"),
        ),
        "engine": ("*:requests:*", "*:control", "*:tokens:*", "*:executors", "engine:*", "boot:*"),
        "detokenizer": (
            *("*:requests:*", "*:control", "*:tokens:*", "*:submitted:*", "*:done:*", "*:session:*", "*:dead"),
            *("*:shard:*", "*:detokenizer:*", "*:executors", "engine:*"),
        ),
    }
)


def rules(service: str) -> str:
    """In the words of ACL SETUSER, without a password. Raises KeyError for a service that is none."""
    keys = " ".join(f"~sluice:{pattern}" for pattern in KEYS[service])
    verbs = " ".join(f"+{verb}" for verb in VERBS[service])
    return f"on resetchannels {keys} -@all {verbs}"


def lines() -> str:
    """One line for each service; `deploy/redis-config.sh` adds the passwords."""
    return "".join(f"{service} {rules(service)}\n" for service in VERBS)


if __name__ == "__main__":
    sys.stdout.write(lines())
