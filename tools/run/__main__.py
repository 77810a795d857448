"""Everything on one machine: an embedded Redis, engines, detokenizers and gateways, each started again if it dies.

The tasks form a tree: Redis around the services, so that it ends after them. Exit status 0 after Ctrl-C or SIGTERM, 2
when the start failed; then the last line says why.
"""

import asyncio
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from shared.errors import ConfigError
from shared.settings import load
from tools.run.config import RunConfig, services, with_aliases
from tools.run.embedded import free_port, redis_binary, redis_program
from tools.run.preflight import alone, check, warnings
from tools.run.process import Death, Program, keep
from tools.run.ready import wait_until_ready

ABOUT = "Serve a model on this machine: Redis, engines, detokenizers, gateways under one supervisor. Ctrl-C ends all."
GRACE_S = 10.0
TRIES = 3  # of a program that dies before all are ready; later it is started again for ever
PROG = re.compile(r"^(python -m )?services\.\w+: ")  # how a service begins its last line
BAD_CONFIG = 2  # the exit status by which a service says that trying again is of no use


class Supervisor:
    """Owns the tree of tasks. `ready` says when to announce; tests put small programs in the services' place."""

    def __init__(self, logs: Path, say: Callable[[str], None], grace_s: float = GRACE_S) -> None:
        self._logs = logs
        self._say = say
        self._grace_s = grace_s
        self._ready = False
        self._stop = asyncio.Event()
        self._kept: list[asyncio.Task[None]] = []

    async def run(
        self, redis: Program | None, programs: Sequence[Program], ready: Callable[[], Awaitable[None]], announce: str
    ) -> None:
        """Until `stop`. Raises ConfigError (in a group) for a start that failed; no process is left in any case."""
        async with asyncio.TaskGroup() as outer:
            bus = [self._keep(outer, redis)] if redis else []
            async with asyncio.TaskGroup() as inner:
                kept = [self._keep(inner, program) for program in programs]
                waiting = inner.create_task(self._announce(ready, announce), name="ready")
                await self._stop.wait()
                for task in (*kept, waiting):
                    task.cancel()
            for task in bus:
                task.cancel()

    def stop(self) -> None:
        """End all; called again, end them without grace."""
        if self._stop.is_set():
            for task in self._kept:
                task.cancel()
        self._stop.set()

    def _keep(self, group: asyncio.TaskGroup, program: Program) -> asyncio.Task[None]:
        log = self._logs / f"{program.name}.log"
        log.write_bytes(b"")  # a run's log is of this run
        task = group.create_task(keep(program, log, self._died, grace_s=self._grace_s), name=program.name)
        self._kept.append(task)
        return task

    async def _announce(self, ready: Callable[[], Awaitable[None]], line: str) -> None:
        await ready()
        self._ready = True
        self._say(line)

    def _died(self, death: Death) -> None:
        if not self._ready and (death.status == BAD_CONFIG or death.deaths >= TRIES):
            raise ConfigError(f"{explain(death)} (log: {self._logs / death.name}.log)")
        self._say(f"{death}; starting it again")


def explain(death: Death) -> str:
    """One line for the operator. Who gave a reason is quoted; who was killed outright most likely lacked memory."""
    if death.status == BAD_CONFIG and death.reason:
        return f"{death.name}: {PROG.sub('', death.reason)}"
    if death.status == -signal.SIGKILL:
        less = 'a smaller MODEL, fewer ENGINES or ENGINE_ARGS="--kv-blocks N"'
        return f"{death.name} was killed, most likely for want of memory: {less} would need less"
    return str(death)


async def serve(config: RunConfig) -> None:
    token = config.internal_token or secrets.token_urlsafe(32)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "SLUICE_INTERNAL_TOKEN": token}
    store, redis = config.folder / "redis", None
    if not (redis_url := config.redis_url):
        redis, redis_url = redis_program(store, redis_binary(), os.environ)
    environment["SLUICE_REDIS_URL"] = redis_url
    environment["SLUICE_API_KEY"] = config.api_key
    supervisor = Supervisor(config.folder, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup wants it ignored
            loop.add_signal_handler(number, supervisor.stop)
    say(f"starting {config.name} on {config.device}; logs in {config.folder}/, Ctrl-C ends all")
    await supervisor.run(
        redis,
        services(config, environment),
        lambda: wait_until_ready(config.url(reached=True), say),
        f"ready: {config.url()}",
    )
    if redis:
        shutil.rmtree(store, ignore_errors=True)
    say("all processes have ended")


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    status = 0
    try:
        config = load(RunConfig, "python -m tools.run", ABOUT, sys.argv[1:], with_aliases(os.environ))
        with alone(config.folder):
            check(config)
            if config.port == 0:
                config = replace(config, port=free_port(config.host))
            for line in warnings(config):
                say(f"WARNING: {line}")
            asyncio.run(serve(config))
    except* ConfigError as group:
        print(f"sluice: {first(group)}", file=sys.stderr, flush=True)
        status = BAD_CONFIG
    return status


def first(error: BaseException) -> BaseException:
    """What went wrong first, out of a group of groups."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    sys.exit(main())
