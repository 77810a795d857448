"""The cast: Redis, engines, detokenizers and gateways as processes of their own, a proxy between any two that talk.

Who ends is started again, as the supervisor of `make run` and compose do, while somebody tends to the cast. Leaving it
ends every process group, whatever has happened.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp
import psutil

from tests.chaos.proxy import Proxy
from tests.checkpoints import ROOT
from tools.run.embedded import free_port, redis_binary, redis_program
from tools.run.process import die_with

MODEL = "sluice-demo"
LOOPBACK, DOOR = "127.0.0.1", "127.0.0.2"  # detokenizers listen on the one, and their proxies on the other
RESTART_S = 0.2
PATIENCE_S = 60.0
LOOK_S = 0.05
ENGINE = "--device cpu --dtype float32 --threads 1 --max-num-seqs 32 --kv-blocks 1024"
DETOKENIZER = "--retention-s 60 --keep-s 5 --keep-requests 64"  # short, so that memory comes to a rest
GATEWAY = "--grace-s 0.5"
Metrics = Mapping[str, float]


class Actor:
    """One process, or its next one: `births` counts them. `kept`: it is to be there."""

    def __init__(self, name: str, port: int, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.port, self.log = name, port, log
        self.births = 0
        self.kept = True
        self.stdin = b""
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_s: float | None = None

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def living(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.births += 1
        self._ended_s = None
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=dict(self._environment),
                stdin=subprocess.PIPE if self.stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        if self._process.stdin:
            self._process.stdin.write(self.stdin)
            self._process.stdin.close()

    def tend(self, now_s: float) -> None:
        """Start it again if it has ended and was not meant to."""
        if not self.kept or self.living:
            return
        self._ended_s = now_s if self._ended_s is None else self._ended_s
        if now_s - self._ended_s >= RESTART_S:
            self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> float:
        """The seconds until this birth was over."""
        process, since_s = self._process, time.monotonic()
        assert process is not None
        while process.poll() is None:
            await asyncio.sleep(LOOK_S / 5)
        return time.monotonic() - since_s

    def end(self) -> None:
        """The whole group, at once."""
        self.kept = False
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def memory(self) -> int:
        """Bytes resident."""
        return int(psutil.Process(self.pid).memory_info().rss)


class Cast:
    """`redis_url` leads to Redis itself, past the proxies. `proxies` by the two who talk: "engine-0 redis"."""

    def __init__(self, folder: Path, *, engines: int = 2, detokenizers: int = 2, gateways: int = 2) -> None:
        program, self.redis_url = redis_program(folder / "redis", redis_binary(), os.environ)
        redis_port = urlsplit(self.redis_url).port
        assert redis_port is not None
        self.redis = Actor("redis", redis_port, list(program.command), program.environment, folder / "redis.log")
        self.redis.stdin = program.stdin
        self.proxies: dict[str, Proxy] = {}
        self._folder = folder
        self._shards = detokenizers
        self.engines = [self._actor("engine", i, *ENGINE.split()) for i in range(engines)]
        self.detokenizers = [
            self._actor("detokenizer", i, "--shard", str(i), "--advertise-host", DOOR, *DETOKENIZER.split())
            for i in range(detokenizers)
        ]
        self.gateways = [self._actor("gateway", i, *GATEWAY.split()) for i in range(gateways)]
        for one in self.detokenizers:
            self.proxies[f"gateways {one.name}"] = Proxy((LOOPBACK, one.port), DOOR, one.port)

    @property
    def services(self) -> list[Actor]:
        return [*self.engines, *self.detokenizers, *self.gateways]

    @property
    def actors(self) -> list[Actor]:
        return [self.redis, *self.services]

    @property
    def doors(self) -> list[str]:
        return [f"http://{LOOPBACK}:{gateway.port}" for gateway in self.gateways]

    async def __aenter__(self) -> "Cast":
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0))
        try:
            self.redis.start()
            for proxy in self.proxies.values():
                await proxy.start()
            await self.ready()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def tend(self) -> None:
        """Start again who has ended, for ever."""
        while True:
            for actor in self.actors:
                actor.tend(time.monotonic())
            await asyncio.sleep(LOOK_S)

    async def ready(self) -> None:
        """Until all who are to be there are, and know of each other. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            tending = tasks.create_task(self.tend())
            while not await self._ready():
                await asyncio.sleep(LOOK_S)
            tending.cancel()

    async def metrics(self, actor: Actor) -> Metrics:
        """What it counts; nothing if it does not answer."""
        lines = (await self._get(actor, "metrics"))[1].splitlines()
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    async def busiest(self) -> Actor:
        """The engine that holds the most requests."""
        held = {engine: (await self.metrics(engine)).get("sluice_engine_ledger_held", -1.0) for engine in self.engines}
        return max(held, key=lambda engine: held[engine])

    def logs(self, lines: int = 15) -> str:
        """The last lines of each log."""
        parts = []
        for actor in self.actors:
            said = actor.log.read_text(errors="replace").splitlines()[-lines:] if actor.log.exists() else []
            parts += [f"---- {actor.name}", *said]
        return "\n".join(parts)

    def _actor(self, service: str, index: int, *flags: str) -> Actor:
        name, port = f"{service}-{index}", free_port(LOOPBACK)
        proxy = self.proxies[f"{name} redis"] = Proxy((LOOPBACK, self.redis.port), port=free_port(LOOPBACK))
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "SLUICE_INTERNAL_TOKEN": "not a secret",
            "SLUICE_REDIS_URL": self.redis_url.replace(f":{self.redis.port}/", f":{proxy.port}/"),
        }
        common = ("--model", "models/demo", "--served-model-name", MODEL, "--shards", str(self._shards))
        own = ("--engine-name", name) if service == "engine" else ()
        command = [sys.executable, "-m", f"services.{service}", *common, "--port", str(port), *own, *flags]
        return Actor(name, port, command, environment, self._folder / f"{name}.log")

    async def _ready(self) -> bool:
        kept = [actor for actor in self.services if actor.kept]
        answers = [await self._get(actor, "ready") for actor in kept]
        if not all(status == 200 for status, _ in answers):
            return False
        engines = sum(engine.kept for engine in self.engines)
        seen = [await self.metrics(gateway) for gateway in self.gateways if gateway.kept]
        return all(one.get("sluice_gateway_cluster_engines_ready") == engines for one in seen)

    async def _get(self, actor: Actor, path: str) -> tuple[int, str]:
        try:
            async with self.http.get(f"http://{LOOPBACK}:{actor.port}/{path}") as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    async def _close(self) -> None:
        for actor in reversed(self.actors):
            actor.end()
        for proxy in self.proxies.values():
            await proxy.close()
        await self.http.close()
