"""How much one API key may ask: requests and tokens a minute, and requests at once. Pure; counted in this process only.

A bucket holds what a minute allows and fills evenly. A request takes its tokens before it runs, prompt and most output;
when the length of its answer is known the difference goes back, or is owed. One that is larger than a whole bucket is
let in when that is full, and what it used beyond is paid off before the next.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.errors import Overloaded

MINUTE_S = 60.0
MOST_ACCOUNTS = 10_000  # the least recently used goes first
MOST_RATE = 10**12
_DUST = 1e-6  # what adding up fractions leaves


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may ask; 0: as much as it likes."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent: int = 0


class Bucket:
    """`level` may lie below zero: then something is owed."""

    def __init__(self, now_s: float) -> None:
        self.most = 0
        self.level = 0.0
        self._at_s = now_s

    def fill(self, most: int, now_s: float) -> None:
        """Up to now, and to `most`. A bucket begins full, and what a new bound adds is there at once."""
        self.level += (now_s - self._at_s) * self.most / MINUTE_S + (most - self.most)
        self.most, self._at_s = most, now_s
        self.level = min(self.level, float(most))

    def wait_s(self, amount: int) -> float:
        """Until this much is there, or all that it can hold; 0 if it is."""
        missing = min(amount, self.most) - self.level
        return missing * MINUTE_S / self.most if missing > _DUST else 0.0

    def give(self, amount: int) -> None:
        """Negative: take."""
        self.level = min(self.level + amount, float(self.most))


@dataclass(eq=False, slots=True)
class Account:
    """What one key has left."""

    requests: Bucket
    tokens: Bucket
    running: int = 0


@dataclass(eq=False, slots=True)
class Ticket:
    """One client request of one key, from `enter` to `close`."""

    rates: "Rates"
    account: Account
    quota: Quota
    reserved: int = 0
    open: bool = False

    def enter(self) -> None:
        """Counts a request. Raises Overloaded, and then nothing is counted."""
        self._fill()
        quota, account = self.quota, self.account
        if quota.concurrent and account.running >= quota.concurrent:
            raise self.rates.refusal(f"{quota.concurrent} requests of this API key are in progress", 1)
        if quota.requests_per_minute:
            if wait_s := account.requests.wait_s(1):
                raise self.rates.refusal(f"Rate limit reached: {quota.requests_per_minute} requests a minute", wait_s)
            account.requests.give(-1)
        account.running += 1
        self.open = True

    def reserve(self, tokens: int) -> None:
        """Takes what the request may come to. Raises Overloaded."""
        most = self.quota.tokens_per_minute
        if not most:
            return
        self._fill()
        if wait_s := self.account.tokens.wait_s(tokens):
            message = f"Rate limit reached: {most} tokens a minute; this request may come to {tokens}"
            raise self.rates.refusal(message, wait_s)
        self.reserved = min(tokens, most)
        self.account.tokens.give(-self.reserved)

    def spend(self, tokens: int) -> None:
        """It came to this."""
        if self.reserved:
            self._fill()
            self.account.tokens.give(self.reserved - tokens)
            self.reserved = 0

    def keep(self) -> None:
        """Nobody can tell what it came to: what is reserved is spent."""
        self.reserved = 0

    def close(self) -> None:
        """What is still reserved was never used."""
        self.spend(0)
        if self.open:
            self.open = False
            self.account.running -= 1

    def headers(self) -> Mapping[str, str]:
        """As OpenAI names them; of limits that are off, none."""
        self._fill()
        told: dict[str, str] = {}
        for name, bucket in (("requests", self.account.requests), ("tokens", self.account.tokens)):
            if bucket.most:
                told[f"x-ratelimit-limit-{name}"] = str(bucket.most)
                told[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level + _DUST)))
                told[f"x-ratelimit-reset-{name}"] = duration((bucket.most - bucket.level) * MINUTE_S / bucket.most)
        return told

    def _fill(self) -> None:
        now_s = self.rates.now_s()
        self.account.requests.fill(self.quota.requests_per_minute, now_s)
        self.account.tokens.fill(self.quota.tokens_per_minute, now_s)


@dataclass(eq=False, slots=True)
class Rates:
    """The one owner of all accounts. `now_s`: seconds of a clock that only goes forward."""

    now_s: Callable[[], float]
    most_accounts: int = MOST_ACCOUNTS
    _accounts: "OrderedDict[str, Account]" = field(default_factory=OrderedDict)
    _refused: int = 0

    def ticket(self, name: str, quota: Quota) -> Ticket:
        """For a request of the key of this name; "" is everybody who needs none, together."""
        account = self._accounts.get(name)
        if account is None:
            now_s = self.now_s()
            account = self._accounts[name] = Account(Bucket(now_s), Bucket(now_s))
            self._forget(name)
        self._accounts.move_to_end(name)
        return Ticket(self, account, quota)

    def refusal(self, message: str, wait_s: float) -> Overloaded:
        self._refused += 1
        return Overloaded(f"{message}; try again later", retry_after_s=max(1, math.ceil(wait_s - _DUST)))

    def statistics(self) -> dict[str, int]:
        return {"keys": len(self._accounts), "refused": self._refused}

    def _forget(self, new: str) -> None:
        """One account at most, and none that somebody uses."""
        if len(self._accounts) > self.most_accounts:
            idle = (name for name, account in self._accounts.items() if not account.running and name != new)
            if (oldest := next(idle, None)) is not None:
                del self._accounts[oldest]


def duration(seconds: float) -> str:
    """As OpenAI writes it: 120ms, 1.5s, 6m0s."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000 - _DUST)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    told = f"{rest / 1000:g}s"
    return f"{minutes}m{told}" if minutes else told
