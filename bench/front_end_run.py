"""The front end under load: sets of processes with a simulated card, and what clients and CPUs say of each load."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import clock_model
from bench.swarm import Heard, Load, compiled, swarm
from bench.tracing import QUIET
from bench.whole_set import WholeSet, whole_set

FRONT = ("gateway", "detokenizer", "redis")
NAME = "clock"
OUT_OF_REACH = 1e6  # tokens a second
ROOM = {"SLUICE_MAX_OPEN_REQUESTS": "65536", "SLUICE_MAX_QUEUED_REQUESTS": "65536"}  # for all, so nobody is refused


@dataclass(frozen=True, slots=True)
class Layout:
    """How many processes of each kind."""

    gateways: int
    detokenizers: int

    def __str__(self) -> str:
        return f"{self.gateways}/{self.detokenizers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure: each number of `clients` on each layout. `loads` are percent of the highest rate."""

    layouts: Sequence[Layout]
    clients: Sequence[int]
    loads: Sequence[int]
    tokens: int  # of an answer
    warm_up_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """One load on one layout. CPU seconds are by kind of process, while it was counted."""

    layout: Layout
    clients: int
    load: int  # percent of the highest rate; 0: out of reach
    asked: float  # tokens a second
    heard: Heard
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.heard.tokens / self.heard.seconds

    @property
    def per_core(self) -> float:
        """Tokens for each second that a core spends in the front end."""
        return self.heard.tokens / max(1e-9, sum(self.cpu[kind] for kind in FRONT))

    def microseconds(self, kind: str) -> float:
        """CPU time for each token."""
        return 1e6 * self.cpu[kind] / max(1, self.heard.tokens)

    @property
    def frames_per_token(self) -> float:
        return self.heard.frames / max(1, self.heard.tokens)


async def measured(plan: Plan) -> AsyncIterator[Point]:
    """Of each layout the highest rates, then shares of them."""
    program = compiled()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clock_model.build(folder / "model")
        for layout in plan.layouts:
            highest = {}
            async with card(folder, layout, OUT_OF_REACH, max(plan.clients)) as running:
                for clients in plan.clients:
                    yield (point := await counted(program, running, plan, layout, clients, 0, OUT_OF_REACH))
                    highest[clients] = point.rate
            for clients, rate in highest.items():
                for load in plan.loads:
                    asked = rate * load / 100
                    async with card(folder, layout, asked, clients) as running:
                        yield await counted(program, running, plan, layout, clients, load, asked)


@asynccontextmanager
async def card(folder: Path, layout: Layout, asked: float, clients: int) -> AsyncIterator[WholeSet]:
    """A set of processes whose card draws `asked` tokens a second for as many `clients` at once."""
    flags = (
        *("--device", "sim", "--model", str(folder / "model"), "--served-model-name", NAME),
        *("--gateways", str(layout.gateways), "--detokenizers", str(layout.detokenizers), "--engine-args"),
        f"--sim-words clock --sim-tokens-per-second {asked:.0f} --max-num-seqs {clients}",
    )
    async with whole_set(folder / "run", QUIET | ROOM, *flags) as running:
        yield running


async def counted(
    program: Path, running: WholeSet, plan: Plan, layout: Layout, clients: int, load: int, asked: float
) -> Point:
    begin: dict[str, float] = {}
    port = urlsplit(running.url).port
    assert port is not None
    wanted = Load(clients=clients, tokens=plan.tokens, warm_up_s=plan.warm_up_s, seconds=plan.seconds)
    heard = await swarm(program, port, NAME, wanted, lambda: begin.update(running.cpu_seconds()))
    end = running.cpu_seconds()
    return Point(layout, clients, load, asked, heard, {kind: end[kind] - begin[kind] for kind in end})
