"""A gateway that throws away what it hears: `python -m bench.listener URL NAME`, in a process of its own."""

import asyncio
import sys

import aiohttp

from shared.frames import Attach, encode_attach

FOREVER = aiohttp.ClientTimeout(total=None)


async def listen(url: str, name: str) -> None:
    """Prints a line once the connection is up; ends with it."""
    async with (
        aiohttp.ClientSession(timeout=FOREVER) as session,
        session.post(f"{url}/frames", data=encode_attach(Attach(name))) as response,
    ):
        response.raise_for_status()
        print("connected", flush=True)
        async for _ in response.content.iter_any():
            pass


if __name__ == "__main__":
    asyncio.run(listen(*sys.argv[1:3]))
