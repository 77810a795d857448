"""A client that writes bytes, whatever they are."""

import asyncio

from shared.frames import Frame
from tests.unit.gateway.fakes import World, start

ANSWER_S = 5.0


async def raw(world: World, data: bytes) -> bytes:
    """What comes back for these bytes, until the server closes or says nothing more for a while."""
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(ANSWER_S):
            return await reader.read(12)
    finally:
        writer.close()
        await writer.wait_closed()


async def serves(world: World) -> None:
    """A good request is answered."""
    asking = start(world.chat())
    async with asyncio.timeout(ANSWER_S):
        parent = (await world.submitted())[-1].parent_id
        await world.detokenizer.push(Frame(parent, "1", "{}", last=True, after=""))
        async with await asking as response:
            assert (response.status, await response.text()) == (200, "{}")
