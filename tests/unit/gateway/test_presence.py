"""A gateway's inside server, and the lease that says where it is."""

import asyncio
from pathlib import Path

import aiohttp

from services.gateway.__main__ import inside
from shared.messages import GatewayStatus
from tests.unit.gateway.fakes import a_world


async def test_a_gateway_says_where_its_inside_server_is_and_that_shows_spans_to_who_has_the_token(
    checkpoint: Path,
) -> None:
    """Several gateways share one public port: there nobody could ask one of them. The dead are forgotten."""
    async with a_world(checkpoint) as world:
        await world.bus.announce_gateway(GatewayStatus(name="gone", url="http://gone"), -1)
        async with inside(world.deps.config, world.bus, world.deps):
            while not (found := await world.bus.gateways()):
                await asyncio.sleep(0.001)
            [status] = found
            assert status.name == world.deps.gateway
            async with aiohttp.ClientSession(status.url) as http:
                for path in ("/health", "/ready", "/metrics"):
                    assert (await http.get(path)).status == 200
                assert (await http.get("/debug/spans")).status == 401
                shown = await http.get("/debug/spans", headers={"Authorization": "Bearer secret"})
                assert (await shown.json())["instance"] == world.deps.gateway
        assert (await world.http.get("/debug/spans")).status == 404, "the public port does not have it"


async def test_while_the_bus_is_down_the_lease_is_tried_again(checkpoint: Path) -> None:
    async with a_world(checkpoint) as world:
        world.bus.down = True
        async with inside(world.deps.config, world.bus, world.deps):
            await asyncio.sleep(0.001)
            world.bus.down = False
            while not await world.bus.gateways():
                await asyncio.sleep(0.001)
