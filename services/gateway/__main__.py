"""The gateway process: `python -m services.gateway --help`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from services.gateway import protocol, tls
from services.gateway.app import build_app
from services.gateway.compose import opened
from services.gateway.config import GatewayConfig
from services.gateway.deps import Deps
from services.gateway.handlers import CANCEL_S
from services.gateway.presence import announce
from shared import dump, lifecycle, logs, ops, redis_bus
from shared.bus import Bus
from shared.errors import ConfigError
from shared.messages import GatewayStatus

log = logging.getLogger("services.gateway")


async def serve(config: GatewayConfig, stop: asyncio.Event) -> None:
    """Until `stop`. Raises ConfigError for a port that is taken, a model that cannot be read, a wrong bus URL."""
    secure = tls.context(config)
    if config.exposed and not config.api_keys and not config.api_keys_file:
        log.warning("!!! %s is reachable by others and NO API KEY is set: anybody may use it (--api-key)", config.host)
    async with redis_bus.connect(config.redis_url, config.name) as bus, opened(config, bus) as deps:
        logs.name_instance(deps.gateway)
        if config.reuse_port:
            await of_use(deps, stop)
        try:
            runner, port = await protocol.serve(build_app(deps), config, secure)
        except OSError as error:
            raise ConfigError(f"cannot listen on {config.host}:{config.port} (--host, --port): {error}") from None
        scheme = "https" if secure else "http"
        log.info("listening on %s://%s:%d as %s", scheme, config.host, port, deps.gateway)
        try:
            async with inside(config, bus, deps):
                with dump.on_signal(deps.statistics):
                    await stop.wait()
        finally:
            await leave(runner, deps)


async def of_use(deps: Deps, stop: asyncio.Event) -> None:
    """Until the model is here, or `stop`: who takes a share of the others' connections must be able to serve them."""
    async with asyncio.TaskGroup() as tasks:
        waits = tasks.create_task(deps.model.here()), tasks.create_task(stop.wait())
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


@asynccontextmanager
async def inside(config: GatewayConfig, bus: Bus, deps: Deps) -> AsyncIterator[None]:
    """The server for other services alone, and the lease that says where it is. Raises ConfigError."""
    app = web.Application()
    deps.ops().add_to(app)
    try:
        runner, port = await ops.serve(app, config.ops_host, config.ops_port)
    except OSError as error:
        where = f"{config.ops_host}:{config.ops_port} (--ops-host, --ops-port)"
        raise ConfigError(f"cannot listen on {where}: {error}") from None
    status = GatewayStatus(name=deps.gateway, url=ops.address(config.ops_host, port, config.advertise_host))
    try:
        async with asyncio.TaskGroup() as tasks:
            beside = (
                tasks.create_task(announce(bus, status), name="lease"),
                tasks.create_task(settled(deps), name="settled"),
            )
            yield
            for task in beside:
                task.cancel()
    finally:
        await runner.cleanup()


async def settled(deps: Deps) -> None:
    await deps.model.here()
    lifecycle.settle_down()


async def leave(runner: web.AppRunner, deps: Deps) -> None:
    """Let nobody in, give what runs its time to end, then go."""
    deps.admission.close()
    for site in tuple(runner.sites):
        await site.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(deps.config.grace_s):
            await deps.admission.idle()
    deps.admission.abandon()
    await runner.cleanup()
    with suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_S):
            await deps.admission.idle()


if __name__ == "__main__":
    lifecycle.run(GatewayConfig, "python -m services.gateway", "The HTTP door of Sluice: OpenAI's API.", serve)
