"""The whole set: started together, announced once it is ready, ended together."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigError
from tools.run.__main__ import Supervisor, explain, first
from tools.run.process import Death, Program

UP = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def fake(name: str, code: str) -> Program:
    return Program(name=name, command=(sys.executable, "-Sc", code), environment=os.environ)


async def logs_say_something(folder: Path, *names: str) -> list[int]:
    """Waits until each has written its line: its process id."""
    logs = [folder / f"{name}.log" for name in names]
    async with asyncio.timeout(20):
        while not all(log.exists() and log.read_text().endswith("\n") for log in logs):
            await asyncio.sleep(0.005)
    return [int(log.read_text().split()[-1]) for log in logs]


async def never() -> None:
    await asyncio.Event().wait()


async def test_the_set_is_announced_when_ready_and_ends_when_told(tmp_path: Path) -> None:
    """One line says where it listens; after `stop` no process is left."""
    said: list[str] = []
    pids: list[int] = []

    async def ready() -> None:
        pids.extend(await logs_say_something(tmp_path, "redis", "engine-0", "gateway-0"))

    def say(line: str) -> None:
        said.append(line)
        supervisor.stop()

    supervisor = Supervisor(tmp_path, say)
    await supervisor.run(fake("redis", UP), [fake("engine-0", UP), fake("gateway-0", UP)], ready, "ready: http://here")
    assert said == ["ready: http://here"]
    assert len(pids) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_redis_ends_after_the_services(tmp_path: Path) -> None:
    """What a service writes on its way out still reaches the bus."""
    order = tmp_path / "order"
    last = f"""
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(os.getpid(), flush=True)
signal.sigwait([signal.SIGTERM])
open({str(order)!r}, "a").write(sys.argv[1] + " ")
"""
    supervisor = Supervisor(tmp_path, lambda line: supervisor.stop())

    def named(name: str) -> Program:
        return Program(name=name, command=(sys.executable, "-Sc", last, name), environment=os.environ)

    async def ready() -> None:
        await logs_say_something(tmp_path, "redis", "engine-0")

    await supervisor.run(named("redis"), [named("engine-0")], ready, "ready")
    assert order.read_text().split() == ["engine-0", "redis"]


async def test_a_configuration_error_at_the_start_ends_everything_with_its_reason(tmp_path: Path) -> None:
    """Exit status 2 means that trying again is of no use; the line the service gave is what the operator reads."""
    wrong = fake("engine-0", "import sys; sys.exit(print('services.engine: --dtype: no such thing') or 2)")
    supervisor = Supervisor(tmp_path, print)
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.run(fake("redis", UP), [wrong, fake("gateway-0", UP)], never, "ready")
    assert str(first(caught.value)) == f"engine-0: --dtype: no such thing (log: {tmp_path}/engine-0.log)"
    assert isinstance(first(caught.value), ConfigError)


async def test_a_program_that_keeps_dying_before_all_are_ready_ends_the_start(tmp_path: Path) -> None:
    """A start that cannot succeed is given up after three tries, not repeated for ever."""
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.run(None, [fake("engine-0", "raise OSError('no room')")], never, "ready")
    assert str(first(caught.value)).startswith("engine-0 ended (exit status 1): OSError: no room")
    assert said == ["engine-0 ended (exit status 1): OSError: no room; starting it again"] * 2


async def test_a_program_that_is_killed_later_comes_back(tmp_path: Path) -> None:
    """Once the set was ready nothing ends it but its operator, not even status 2."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(tmp_path, lines.put_nowait)

    async def ready() -> None:
        await logs_say_something(tmp_path, "engine-0")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(None, [fake("engine-0", UP)], ready, "ready"))
        assert await lines.get() == "ready"
        (pid,) = await logs_say_something(tmp_path, "engine-0")
        os.kill(pid, signal.SIGKILL)
        assert (await lines.get()).startswith("engine-0 ended (killed by SIGKILL)")
        async with asyncio.timeout(20):
            while (await logs_say_something(tmp_path, "engine-0")) == [pid]:
                await asyncio.sleep(0.005)
        supervisor.stop()


async def test_told_twice_it_does_not_wait_for_the_stubborn(tmp_path: Path) -> None:
    """A second Ctrl-C kills what the first one has asked to end."""
    stubborn = fake("engine-0", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {UP}")
    supervisor = Supervisor(tmp_path, print, grace_s=3600)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(None, [stubborn], never, "ready"))
        await logs_say_something(tmp_path, "engine-0")
        supervisor.stop()
        for _ in range(3):  # the end has begun
            await asyncio.sleep(0)
        supervisor.stop()


def test_who_was_killed_outright_is_said_to_have_lacked_memory() -> None:
    """The kernel's own killer leaves no words behind; the line names what to change."""
    assert "ENGINES" in explain(Death("engine-0", -9, 3, "loading"))
