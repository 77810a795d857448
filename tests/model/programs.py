"""The production programs as the model starts them: `serve` of engine and detokenizer, a gateway's relay.

What reaches outside a process is replaced, in one place: the bus by a wire, HTTP by `web.py`, the device by the fake
worker, clocks by the loop's, dice by the world's. All else is the code that runs in life.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import aiohttp
from aiohttp import web
from tokenizers import Tokenizer, decoders, models

from services.detokenizer import __main__ as detokenizer
from services.detokenizer import server
from services.detokenizer.config import DetokenizerConfig
from services.detokenizer.decode import Vocabulary
from services.detokenizer.links import Links
from services.detokenizer.owner import Owner
from services.detokenizer.sessions import Sessions
from services.detokenizer.trimming import Trimming
from services.engine import __main__ as engine
from services.engine.config import EngineConfig
from services.engine.core.scheduler import Scheduler
from services.engine.inbox import Inbox
from services.engine.ledger import Ledger
from services.engine.loop import EngineLoop
from services.engine.status import Status
from services.gateway.link import Link
from services.gateway.replies import Replies
from services.gateway.status import Cluster
from services.gateway.submissions import Submissions
from shared import lifecycle, ops
from shared.bus import Bus
from tests.model.loop import PROCESS, Process
from tests.model.web import App, Http, Runner, StreamResponse
from tests.model.worker import BLOCK_SIZE, VOCABULARY_SIZE, SimWorker

PARTS = (Ledger, Scheduler, Inbox, EngineLoop, Status, Owner, Sessions, Links, Trimming)
CLOCKS = ("clock", "now_s", "wall_s")  # parameters
CHECKPOINT_STEPS = 4
KEEP_S = 20.0  # of finished answers in a detokenizer's memory
MAILBOX_FRAMES = 4
WAITING = 1  # requests that an engine takes beyond those that run


def word(token: int) -> str:
    """The text of a token: four characters, no two alike."""
    return f"{token:03d},"


def tokens_of(text: str) -> tuple[int, ...]:
    """Raises ValueError for a text that is not whole tokens."""
    if len(text) % 4 or any(text[i + 3] != "," for i in range(0, len(text), 4)):
        raise ValueError(f"not whole tokens: {text!r}")
    return tuple(int(text[i : i + 3]) for i in range(0, len(text), 4))


def vocabulary() -> Vocabulary:
    tokenizer = Tokenizer(models.WordLevel({word(i): i for i in range(VOCABULARY_SIZE)}, word(0)))
    tokenizer.decoder = decoders.Fuse()
    return Vocabulary(tokenizer)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def world() -> Any:
    return PROCESS.get().world


@asynccontextmanager
async def _connect(*_: Any) -> AsyncIterator[Any]:
    yield world().wire(PROCESS.get())


async def _serve(app: Any, *_: Any, **__: Any) -> tuple[Runner, int]:
    return Runner(app), world().site(app)


def watched(part: type) -> Callable[..., None]:
    """`part.__init__` with the world's clock; what it makes is shown to the world."""
    initialise = part.__init__  # type: ignore[misc]
    signature = inspect.signature(initialise)

    def init(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.arguments |= {clock: now_s for clock in CLOCKS if clock in signature.parameters}
        if part is Trimming:
            bound.arguments["steps"] = CHECKPOINT_STEPS
        initialise(*bound.args, **bound.kwargs)
        PROCESS.get().parts[part.__name__] = args[0]

    return init


def _worker(*_: Any) -> SimWorker:
    return cast(SimWorker, world().worker(PROCESS.get()))


@contextmanager
def installed() -> Iterator[None]:
    """While this lasts, the programs run in whatever world their process belongs to."""
    words = vocabulary()
    sites = SimpleNamespace(StreamResponse=StreamResponse, Response=web.Response)
    with ExitStack() as stack:
        for part in PARTS:
            stack.enter_context(patch.object(part, "__init__", watched(part)))
        for program in (engine, detokenizer):
            stack.enter_context(patch.object(program, "redis_bus", SimpleNamespace(connect=_connect)))
            stack.enter_context(patch.object(program, "web", SimpleNamespace(Application=App)))
        for target, name, value in (
            (server, "web", sites),
            (ops, "serve", _serve),
            (lifecycle, "settle_down", lambda: None),
            (engine.Engine, "_load", _worker),
            (detokenizer, "secrets", SimpleNamespace(token_hex=lambda _: world().nonce())),
            (detokenizer.Detokenizer, "_load", lambda _: words),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


async def run_engine(process: Process, name: str, stop: asyncio.Event) -> None:
    """Until it is drained; raises what ends it otherwise."""
    config = EngineConfig(
        engine_name=name,
        shards=process.world.shards,
        max_num_seqs=SimWorker.max_num_seqs,
        max_waiting=WAITING,
        max_batched_tokens=SimWorker.max_batched_tokens,
        block_size=BLOCK_SIZE,
    )
    await engine.serve(config, stop)


async def run_detokenizer(process: Process, shard: int, stop: asyncio.Event) -> None:
    """Until somebody else owns the shard."""
    config = DetokenizerConfig(shard=shard, shards=process.world.shards, keep_s=KEEP_S)
    await detokenizer.serve(config, stop)


class Gateway:
    """What of a gateway faces the bus and the detokenizers."""

    def __init__(self, process: Process) -> None:
        self.bus: Bus = process.world.wire(process)
        self.name = process.name
        self.replies = Replies(MAILBOX_FRAMES)
        http = cast(aiohttp.ClientSession, Http(process))
        shards = process.world.shards
        self.links = [Link(shard, process.name, "", http, self.replies) for shard in range(shards)]
        self.cluster = Cluster(self.bus, shards, self.replies.owned_by)
        self.submissions = Submissions(self.bus)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.replies.run(self.links), name="replies")
            tasks.create_task(self.cluster.run(), name="status")
            tasks.create_task(self.submissions.run(), name="submissions")
