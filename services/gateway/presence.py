"""This gateway's lease: that it lives, where its inside server is (for the timeline), and how many requests wait here
(for the other gateways' queues)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from shared.bus import Bus, BusDown
from shared.messages import GatewayStatus

LEASE_MS = 3_000
RENEW_S = 1.0
QUEUED_RENEW_S = 0.25  # while somebody waits


async def announce(bus: Bus, now: Callable[[], GatewayStatus]) -> None:
    """For ever. The first look forgets who died: a gateway that comes back has another name."""
    looked = False
    while True:
        status = now()
        with suppress(BusDown):
            await bus.announce_gateway(status, LEASE_MS)
            if not looked:
                await bus.gateways()
                looked = True
        await asyncio.sleep(QUEUED_RENEW_S if status.waiting else RENEW_S)
