"""Turns between tenants: of those with somebody waiting, the one that has been served least is next.

This is the virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): a tenant's
counter grows by what it is given, PROMPT_WEIGHT for a prompt's token when its request is admitted, OUTPUT_WEIGHT for a
token drawn. Who comes back after a pause is lifted to the least counter of those who wait: nobody saves up credit.
While two tenants wait, what they are given differs by at most 2 * max(PROMPT_WEIGHT * longest prompt, OUTPUT_WEIGHT *
tokens that run at once), however many requests they have. Within a tenant the order is by rank.
"""

import heapq
from collections.abc import Iterator

from services.engine.core.request import Phase, Rank, Request

PROMPT_WEIGHT, OUTPUT_WEIGHT = 1, 2  # the paper's; a token drawn costs about as much as several computed together
MOST_ACCOUNTS = 1024  # then those with nobody waiting are forgotten


class Account:
    """What one tenant was given, and its waiting requests. Who ends while it waits stays as a husk until it is met or
    swept."""

    __slots__ = ("_heap", "_husks", "listed", "served", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.served = 0  # weighted tokens
        self.listed = False  # it has a place in the queue's list of turns
        self._heap: list[tuple[Rank, Request]] = []  # ranks are unique, so requests are never compared
        self._husks = 0

    def __len__(self) -> int:
        return len(self._heap) - self._husks

    def push(self, request: Request) -> None:
        heapq.heappush(self._heap, (request.rank, request))

    def first(self) -> Request | None:
        while self._heap and self._heap[0][1].phase is not Phase.WAITING:
            heapq.heappop(self._heap)
            self._husks -= 1
        return self._heap[0][1] if self._heap else None

    def pop(self) -> Request:
        """Takes what `first` has shown."""
        return heapq.heappop(self._heap)[1]

    def husk(self) -> None:
        """A request in here has ended. Sweeping when half are husks costs each of them a constant."""
        self._husks += 1
        if self._husks * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1].phase is Phase.WAITING]
            heapq.heapify(self._heap)
            self._husks = 0

    def drew(self) -> None:
        """A token was drawn for one of its requests."""
        self.served += OUTPUT_WEIGHT

    def check(self) -> None:
        husks = sum(request.phase is not Phase.WAITING for _, request in self._heap)
        assert husks == self._husks, f"{husks} husks in the queue of {self.tenant!r}, {self._husks} counted"


class FairQueue:
    """The tenants of one lane."""

    __slots__ = ("_accounts", "_level", "_number", "_turns")

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        # By what each was served when it was listed. Counters only grow, so what is too low is mended when it is met.
        self._turns: list[tuple[int, int, Account]] = []
        self._number = 0
        self._level = 0  # the counter of whoever had the last turn

    def push(self, request: Request) -> None:
        account = self._accounts.get(request.tenant)
        if account is None:
            account = self._open(request.tenant)
        if not len(account):
            front = self._front()
            account.served = max(account.served, front.served if front else self._level)
        request.account = account
        account.push(request)
        if not account.listed:
            account.listed = True
            heapq.heappush(self._turns, self._entry(account))

    def first(self) -> Request | None:
        account = self._front()
        return account.first() if account else None

    def pop(self) -> Request:
        """Takes what `first` has shown, and charges its tenant unless it runs again after a preemption."""
        account = self._turns[0][2]
        request = account.pop()
        self._level = max(self._level, account.served)
        if not request.began:
            account.served += PROMPT_WEIGHT * request.known
        return request

    def waiting(self) -> Iterator[tuple[str, int]]:
        """Each tenant with somebody waiting, and how many."""
        return ((account.tenant, len(account)) for account in self._accounts.values() if len(account))

    def _front(self) -> Account | None:
        while self._turns:
            served, _, account = self._turns[0]
            if account.first() is None:
                heapq.heappop(self._turns)
                account.listed = False
            elif account.served > served:
                heapq.heapreplace(self._turns, self._entry(account))
            else:
                return account
        return None

    def _entry(self, account: Account) -> tuple[int, int, Account]:
        self._number += 1
        return account.served, self._number, account

    def _open(self, tenant: str) -> Account:
        if len(self._accounts) >= MOST_ACCOUNTS:
            self._accounts = {account.tenant: account for account in self._accounts.values() if len(account)}
        account = self._accounts[tenant] = Account(tenant)
        return account

    def check(self) -> None:
        for account in self._accounts.values():
            account.check()
            assert account.listed or not len(account), f"{account.tenant!r} waits and gets no turn"
