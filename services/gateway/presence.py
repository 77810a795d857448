"""This gateway's lease: that it lives, and where its inside server is. Nothing but the timeline asks for it."""

import asyncio
from contextlib import suppress

from shared.bus import Bus, BusDown
from shared.messages import GatewayStatus

LEASE_MS = 3_000
RENEW_S = 1.0


async def announce(bus: Bus, status: GatewayStatus) -> None:
    """For ever. The first look forgets who died: a gateway that comes back has another name."""
    looked = False
    while True:
        with suppress(BusDown):
            await bus.announce_gateway(status, LEASE_MS)
            if not looked:
                await bus.gateways()
                looked = True
        await asyncio.sleep(RENEW_S)
