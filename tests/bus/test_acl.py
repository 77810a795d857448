"""Each service has a Redis user with the verbs and keys it uses and no others (shared/acl.py, deploy/redis.acl).

That it has all it needs is shown by the contract's tests, which also run under these users (`conftest.py`)."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import pytest
from redis import asyncio as redis
from redis import exceptions

from shared import acl, keys, redis_bus
from shared.bus import Bus
from tests.bus.users import SPEAKS, create_users, url_of
from tools.run.embedded import free_port, redis_binary

ROOT = Path(__file__).parents[2]
MODEL = "acl"
REQUESTS, TOKENS = keys.requests(MODEL, "interactive"), keys.tokens(MODEL, "e.1", 0)
REFUSED: list[tuple[str, tuple[Any, ...]]] = [
    ("engine", ("XDEL", REQUESTS, "1-0")),
    ("engine", ("XACK", REQUESTS, keys.GROUP, "1-0")),
    ("engine", ("XTRIM", REQUESTS, "MAXLEN", "0")),
    ("engine", ("XCLAIM", REQUESTS, keys.GROUP, "e.1", "0", "1-0")),
    ("engine", ("XGROUP", "DESTROY", REQUESTS, keys.GROUP)),
    ("engine", ("SET", keys.done(MODEL, "p.0"), "x")),
    ("engine", ("SET", keys.shard_version(MODEL, 0), "x")),
    ("engine", ("XADD", keys.dead(MODEL), "*", "data", "x")),
    ("gateway", ("XADD", TOKENS, "*", "data", "x")),
    ("gateway", ("XRANGE", REQUESTS, "-", "+")),
    ("gateway", ("XDEL", REQUESTS, "1-0")),
    ("gateway", ("DEL", REQUESTS)),
    ("gateway", ("SET", keys.shard_version(MODEL, 0), "x")),
    ("gateway", ("DEL", keys.gateways(MODEL))),
    ("engine", ("SADD", keys.gateways(MODEL), "g")),
    ("detokenizer", ("XREADGROUP", "GROUP", keys.GROUP, "e.1", "STREAMS", REQUESTS, ">")),
    ("detokenizer", ("SET", keys.boot("e"), "9")),
    ("detokenizer", ("SADD", keys.executors(MODEL), "e.1")),
    ("detokenizer", ("GET", keys.gateway_lease(MODEL, "g"))),
    *(
        (service, command)
        for service in acl.VERBS
        for command in (
            *(("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"), ("EVAL", "return 1", "0"), ("KEYS", "*")),
            *(("SCRIPT", "LOAD", "return 1"), ("ACL", "LIST"), ("SHUTDOWN",), ("MONITOR",)),
            *(("CLIENT", "LIST"), ("MODULE", "LIST"), ("SAVE",), ("REPLICAOF", "NO", "ONE"), ("RENAME", REQUESTS, "x")),
            *(("GET", "another's"), ("SET", "sluice", "x"), ("SCAN", "0"), ("DUMP", REQUESTS), ("TYPE", REQUESTS)),
        )
    ),
]


@pytest.fixture
async def server(redis_url: str, bus_is_up: None) -> AsyncIterator[redis.Redis]:
    async with redis.Redis.from_url(redis_url, protocol=2) as client:
        await create_users(client)
        yield client


@pytest.fixture
async def bus_is_up(redis_url: str) -> None:
    async with redis.Redis.from_url(redis_url, protocol=2) as client:
        while True:
            try:
                await client.ping()
                return
            except exceptions.ConnectionError:
                continue


@pytest.mark.parametrize(("service", "command"), REFUSED, ids=lambda value: str(value)[:60])
async def test_a_verb_or_a_key_that_a_service_does_not_use_is_refused(
    service: str, command: tuple[Any, ...], redis_url: str, server: redis.Redis
) -> None:
    """An engine cannot take requests away, a gateway cannot forge tokens, and nobody can run scripts or look around."""
    async with redis.Redis.from_url(url_of(redis_url, service), protocol=2) as client:
        with pytest.raises(exceptions.NoPermissionError):
            await client.execute_command(*command)


def test_every_verb_of_the_bus_has_somebody_who_may_say_it() -> None:
    verbs = {name for name in vars(Bus) if not name.startswith("_")} - {"close"}
    assert verbs == frozenset().union(*SPEAKS.values())
    assert set(SPEAKS) == set(acl.VERBS) == set(acl.KEYS)


async def test_words_that_several_services_say_work_under_each_of_their_users(
    redis_url: str, server: redis.Redis
) -> None:
    for service in SPEAKS:
        async with redis_bus.connect(url_of(redis_url, service), MODEL) as bus:
            assert await bus.now_ms() > 0 and await bus.memory()
            if service != "gateway":
                await bus.control_end()
            if service != "engine":
                await bus.cancel("p", "why")
                assert await bus.outcome("nobody") is None


def test_the_file_for_the_containers_is_what_the_list_says() -> None:
    assert (ROOT / "deploy" / "redis.acl").read_text() == acl.lines()


async def test_the_containers_configuration_starts_a_redis_with_these_users_and_no_other(tmp_path: Path) -> None:
    """Each user has its own password, the operator has one, and without any nobody gets in."""
    passwords = {name: f"pw-{name}-/&$" for name in ("redis", *acl.VERBS)}
    environment = {f"REDIS_{name}_PASSWORD".upper(): word for name, word in passwords.items() if name != "redis"}
    made = subprocess.run(
        ["sh", str(ROOT / "deploy" / "redis-config.sh"), str(ROOT / "deploy")],
        env=environment | {"REDIS_PASSWORD": passwords["redis"], "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        timeout=10,
    ).stdout.decode()
    port = free_port("127.0.0.1")
    config = made.replace("dir /store", f"dir {tmp_path}").replace("bind * -::*", "bind 127.0.0.1") + f"port {port}\n"
    with Popen([redis_binary(), "-"], stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            assert process.stdin
            process.stdin.write(config.encode())
            process.stdin.close()
            for name, word in passwords.items():
                user = None if name == "redis" else name
                client = redis.Redis(port=port, username=user, password=word, protocol=2)
                while True:
                    try:
                        assert await client.execute_command("PING")
                        break
                    except exceptions.ConnectionError:
                        assert process.poll() is None, "redis has ended"
                await client.aclose()
            async with redis.Redis(port=port, protocol=2) as stranger:
                with pytest.raises(exceptions.AuthenticationError):
                    await stranger.execute_command("PING")
            async with redis.Redis(port=port, username="engine", password="pw-gateway", protocol=2) as wrong:
                with pytest.raises(exceptions.AuthenticationError):
                    await wrong.execute_command("PING")
        finally:
            process.terminate()
