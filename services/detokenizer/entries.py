"""What of this shard lies in the requests streams, each entry read once (PROTOCOL 9).

Nobody but the owner takes entries of its shard away, so what was read and not taken away is there: a look at the shard
costs what is new and what engines hold, however long the queue is. Prompts are not kept: whoever queues a request again
asks the bus for the whole of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from shared.bus import BEGINNING, Entry, Snapshot, StreamId
from shared.messages import PROMPT_TAIL, GenerateRequest
from shared.types import Lane, ParentId, RequestId


class Entries:
    def __init__(self) -> None:
        self.read: Mapping[Lane, StreamId] = BEGINNING  # what follows is unknown
        self._requests: dict[Entry, GenerateRequest] = {}
        self._of: dict[RequestId, list[Entry]] = {}
        self._parents: dict[ParentId, int] = {}  # how many entries
        self._early: set[Entry] = set()  # taken away before they were read
        self.all: Mapping[Entry, GenerateRequest] = MappingProxyType(self._requests)

    def has(self, request: RequestId) -> bool:
        return request in self._of

    def has_parent(self, parent: ParentId) -> bool:
        return parent in self._parents

    def repeated(self) -> list[list[Entry]]:
        """The entries of each request that has more than one."""
        return [entries for entries in self._of.values() if len(entries) > 1]

    def learn(self, page: Snapshot) -> None:
        """What the bus has shown behind `read`."""
        for entry, request in page.entries.items():
            if entry in self._early:
                continue
            self._requests[entry] = replace(request, prompt=request.prompt[-PROMPT_TAIL:])
            self._of.setdefault(request.id, []).append(entry)
            self._parents[request.parent_id] = self._parents.get(request.parent_id, 0) + 1
        self.read = page.read
        self._early = {entry for entry in self._early if entry.id > page.read[entry.lane]}

    def drop(self, entries: Iterable[Entry]) -> None:
        """They were taken away."""
        for entry in entries:
            request = self._requests.pop(entry, None)
            if request is None:
                if entry.id > self.read[entry.lane]:
                    self._early.add(entry)
                continue
            self._of[request.id].remove(entry)
            if not self._of[request.id]:
                del self._of[request.id]
            self._parents[request.parent_id] -= 1
            if not self._parents[request.parent_id]:
                del self._parents[request.parent_id]

    def clear(self) -> None:
        """Nothing is known any more: the bus came back with another memory."""
        self.read = BEGINNING
        for known in (self._requests, self._of, self._parents, self._early):
            known.clear()
