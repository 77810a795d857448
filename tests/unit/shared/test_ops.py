"""The servers' sockets, as those who connect find them."""

import select
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web

from shared import ops

BURST = 300  # above aiohttp's own backlog of 128
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


@pytest.mark.skipif(
    not SOMAXCONN.exists() or int(SOMAXCONN.read_text()) < BURST, reason="this kernel keeps fewer connections waiting"
)
async def test_a_burst_of_clients_connects_before_any_is_accepted() -> None:
    """The event loop stands still meanwhile. A connection that finds no room is tried again after a second."""
    runner, port = await ops.serve(web.Application(), "127.0.0.1", 0)
    waiting = select.poll()
    try:
        with ExitStack() as stack:
            for _ in range(BURST):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
                waiting.register(client, select.POLLOUT)
            assert len(waiting.poll(0)) == BURST
    finally:
        await runner.cleanup()
