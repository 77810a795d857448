"""What the handlers work with, put together once in `__main__`."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from services.gateway.admission import Admission
from services.gateway.checker import Checker
from services.gateway.config import GatewayConfig
from services.gateway.keyring import Keyring
from services.gateway.model import ServedModel
from services.gateway.queue import Queue
from services.gateway.rates import Rates
from services.gateway.replies import Replies
from services.gateway.status import Cluster
from services.gateway.submissions import Submissions
from services.gateway.timeline.looks import Looks
from services.gateway.tracing import Tracing
from shared.bus import Bus
from shared.ops import Ops, Readiness
from shared.telemetry.service import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    config: GatewayConfig
    gateway: str  # the name of this process, as the detokenizers know it
    started_s: int  # unix seconds
    bus: Bus
    model: ServedModel
    checker: Checker
    cluster: Cluster
    replies: Replies
    admission: Admission
    queue: Queue
    keyring: Keyring
    rates: Rates
    submissions: Submissions
    telemetry: Telemetry
    tracing: Tracing
    looks: Looks
    now_ms: Callable[[], int]  # unix milliseconds
    seed: Callable[[], int]  # a random one, for a client that gives none
    nonce: Callable[[], str]  # 24 hexadecimal digits that nobody can guess

    def readiness(self) -> Readiness:
        """Would a request be served now? If not, the first thing that is missing."""
        parts = (self.admission, self.model, self.cluster, self.replies)
        return next((state for part in parts if not (state := part.readiness()).ready), Readiness(True, "ready"))

    def ops(self) -> Ops:
        return Ops(self.readiness, self.telemetry, self.config.internal_token)

    def statistics(self) -> dict[str, object]:
        return {
            "requests": self.admission.statistics(),
            "queue": self.queue.statistics(),
            "grammars": self.checker.statistics(),
            "cluster": self.cluster.statistics(),
            "replies": self.replies.statistics(),
            "keys": self.keyring.statistics(),
            "rates": self.rates.statistics(),
            "submissions": self.submissions.statistics(),
        }


DEPS = web.AppKey("deps", Deps)
