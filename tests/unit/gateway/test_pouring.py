"""A relay that waits is not woken for what its client has room for; order, cursors and silences are the same."""

import asyncio
from types import SimpleNamespace
from typing import cast

from services.gateway.link import Link
from services.gateway.replies import Mailbox
from shared.frames import Frame
from tests.unit.gateway.fakes import start
from tests.unit.gateway.streaming import done, frames

CAPACITY = 2


class Client:
    """Takes what is poured to it while it has room."""

    def __init__(self) -> None:
        self.taken: list[Frame] = []
        self.room = True

    def pour(self, frame: Frame) -> bool:
        if self.room and not frame.last:
            self.taken.append(frame)
        return self.room and not frame.last


def a_mailbox() -> Mailbox:
    return Mailbox("p", "", CAPACITY, cast(Link, SimpleNamespace(connections=0)))  # it is asked for nothing else


async def test_what_is_poured_is_not_returned_and_moves_the_cursor() -> None:
    mailbox, client = a_mailbox(), Client()
    waiting = start(mailbox.receive(None, client.pour))
    await asyncio.sleep(0)
    told = [*frames("p", 0, 4), done("p", 4)]
    assert all(mailbox.deliver(frame) for frame in told)  # more than its capacity: nothing is queued
    assert client.taken == told[:-1] and mailbox.cursor == "4" and mailbox.ended
    assert await waiting == told[-1]


async def test_nothing_overtakes_what_is_queued() -> None:
    """Neither behind a frame that found no room, nor while nobody waits."""
    mailbox, client = a_mailbox(), Client()
    one, two, three = frames("p", 0, 3)
    waiting = start(mailbox.receive(None, client.pour))
    await asyncio.sleep(0)
    client.room = False
    assert mailbox.deliver(one)
    client.room = True
    assert mailbox.deliver(two)
    assert await waiting == one and await mailbox.receive(None, client.pour) == two
    assert mailbox.deliver(three) and await mailbox.receive() == three and not client.taken


async def test_a_frame_that_comes_twice_is_poured_once() -> None:
    mailbox, client = a_mailbox(), Client()
    waiting = start(mailbox.receive(None, client.pour))
    await asyncio.sleep(0)
    (one,) = frames("p", 0, 1)
    assert [mailbox.deliver(one), mailbox.deliver(one)] == [True, False] and client.taken == [one]
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_silence_begins_behind_the_last_frame_poured() -> None:
    mailbox, client, loop = a_mailbox(), Client(), asyncio.get_running_loop()
    silence_s, number = 0.3, 0
    waiting = start(mailbox.receive(silence_s, client.pour))
    await asyncio.sleep(0)
    end_s = loop.time() + 2 * silence_s
    while loop.time() < end_s:
        assert not waiting.done()
        assert mailbox.deliver(Frame("p", str(number + 1), "", after=str(number or "")))
        number += 1
        await asyncio.sleep(0)
    assert await waiting is None and len(client.taken) == number
