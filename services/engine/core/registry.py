"""The requests that are held, by their id and by their parent's."""

from services.engine.core.request import Request
from shared.types import ParentId, RequestId


class Registry:
    __slots__ = ("_choices", "by_id")

    def __init__(self) -> None:
        self.by_id: dict[RequestId, Request] = {}
        self._choices: dict[ParentId, dict[RequestId, Request]] = {}  # in the order of submission

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, request: Request) -> None:
        self.by_id[request.id] = request
        self._choices.setdefault(request.parent_id, {})[request.id] = request

    def remove(self, request: Request) -> None:
        del self.by_id[request.id]
        choices = self._choices[request.parent_id]
        del choices[request.id]
        if not choices:
            del self._choices[request.parent_id]

    def named(self, id: RequestId | ParentId) -> list[Request]:
        """The request of this id and every choice of a parent of this id; none if nobody has it."""
        own = {id: self.by_id[id]} if id in self.by_id else {}
        return list({**own, **self._choices.get(id, {})}.values())

    def check(self) -> None:
        choices = {id: request for family in self._choices.values() for id, request in family.items()}
        assert choices == self.by_id, "the two views of the held requests differ"
