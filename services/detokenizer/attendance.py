"""Since when does nobody read which request: what a client's leaving means, whoever told of it and whoever died.

A gateway that dies takes its readers along, and a request may be cancelled for that only after its own time
(`GenerateRequest.unread_s`), in which its client can come back through another gateway.
"""

from collections.abc import Callable, Container, Iterable

from shared.frames import Reader, parent_of
from shared.messages import GenerateRequest
from shared.types import ParentId


class Attendance:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._left_s: dict[ParentId, float] = {}
        self._clients: set[ParentId] = set()

    def come(self, reader: Reader) -> None:
        """Somebody reads it."""
        self._left_s.pop(parent_of(reader), None)
        self._clients.discard(reader)

    def leave(self, reader: Reader, *, last: bool) -> None:
        """`last`: nobody reads it now."""
        parent = parent_of(reader)
        if reader == parent:
            self._clients.add(parent)
        if last:
            self._left_s.setdefault(parent, self._now_s())

    def client_left(self, parent: ParentId) -> bool:
        """Has the request's own client gone, as far as its gateway said?"""
        return parent in self._clients

    def known(self) -> list[ParentId]:
        return [*self._left_s, *self._clients]

    def overdue(self, live: Iterable[GenerateRequest], read: Container[ParentId]) -> list[ParentId]:
        """Those of the `live` requests that nobody has read for longer than they wait for a reader."""
        waits = {one.parent_id: one.unread_s for one in live if one.unread_s is not None and one.parent_id not in read}
        now_s = self._now_s()
        return [parent for parent, wait_s in waits.items() if now_s - self._left_s.setdefault(parent, now_s) >= wait_s]

    def forget(self, parents: Iterable[ParentId]) -> None:
        for parent in parents:
            self._left_s.pop(parent, None)
            self._clients.discard(parent)
