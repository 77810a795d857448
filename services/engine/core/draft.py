"""A step in the making, and its launch: from live requests to the two frozen views of it.

The worker gets the plan, the flights keep the snapshot; after `launch` neither refers to a live request.
"""

from services.engine.core.flights import Flight, Launched
from services.engine.core.request import Request
from services.engine.core.step import RowAdd, RowBlocks, RowWork, Seated, StepPlan
from shared.types import RequestId


class Draft:
    """Who computes how many tokens, and what the worker has to be told for it."""

    __slots__ = ("added", "appended", "began", "chunks", "decodes", "ending", "preempted")

    def __init__(self, preempted: list[RequestId]) -> None:
        self.decodes: list[tuple[Request, int]] = []  # those with one token to compute
        self.chunks: list[tuple[Request, int]] = []
        self.added: list[Request] = []
        self.appended: list[RowBlocks] = []
        self.began: list[RequestId] = []
        self.preempted = preempted  # since the last launch, which takes them
        self.ending: list[Request] = []  # filled by `launch`: who draws its last token in this step

    def launch(self, step: int, removed: tuple[int, ...], *, stateless: bool) -> tuple[StepPlan, Flight]:
        """Fix what the step means, and move on the live requests as if it had run. Decodes come first."""
        chosen = self.decodes + self.chunks
        whole = [request for request, _ in chosen] if stateless else self.added
        added = tuple(map(_whole, whole))
        seated = tuple(Seated(one.id, one.row, one.known, one.computed) for one in self.added)
        work: list[RowWork] = []
        rows: list[Launched] = []
        for request, count in chosen:
            start, row = request.computed, request.row
            end = request.computed = start + count
            request.in_flight += 1
            request.last_step = step
            samples = end == request.known
            offset, at_limit = -1, False
            if samples:
                offset = end - request.prompt_len
                request.known = end + 1
                if end + 1 == request.limit:
                    at_limit = True
                    self.ending.append(request)
            work.append(RowWork(row, start, count, samples))
            rows.append(Launched(request.id, request.epoch, row, end, offset, at_limit))
        appended = () if stateless else tuple(self.appended)
        told = tuple(self.began), len(self.chunks), seated, tuple(self.preempted)
        self.preempted.clear()
        return StepPlan(step, removed, added, appended, tuple(work), *told), Flight(step, tuple(rows))


def _whole(request: Request) -> RowAdd:
    tokens, blocks = tuple(request.tokens), tuple(request.blocks)
    return RowAdd(request.row, tokens, request.prompt_len, blocks, request.sampling)
