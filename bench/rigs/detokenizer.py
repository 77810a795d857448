"""A whole detokenizer: an owner, its sessions, its links and the server that one gateway is connected to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from aiohttp import web
from tokenizers import Tokenizer

from bench.rigs.bus import MODEL, MeteredBus
from bench.rigs.wire import Meter, ask
from services.detokenizer.decode import Vocabulary
from services.detokenizer.links import Links
from services.detokenizer.owner import Owner
from services.detokenizer.server import FrameServer
from services.detokenizer.sessions import Sessions
from services.detokenizer.tracing import Tracing
from shared import keys
from shared.bus import Executor
from shared.codec import encode_records
from shared.frames import Attach, encode_attach
from shared.messages import EngineStatus, GenerateRequest, Record, RenderSpec, ShardStatus, Started, Tokens
from shared.types import SamplingParams, request_id

FOLDER = Path(__file__).parents[2] / "models" / "demo"
TEXT = "The river says nothing, but the old mill turns and turns; nobody asks it why. "
GATEWAY, LEASE_MS = "gate", 600_000
WARM = 12  # tokens of each stream before those that are looked at: more than a decoder's window


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(_tokenizer())


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


class DetokenizerRig:
    def __init__(self, bus: MeteredBus, meter: Meter, links: Links, executor: Executor) -> None:
        self.bus = bus
        self.meter = meter
        self._links = links
        self._executor = executor
        self._key = keys.tokens(MODEL, str(executor), 0)
        self._offset = 0
        self._entries = 0
        self._frames = 0
        self._ids: list[str] = []
        self._text = cycle(_tokenizer().encode(TEXT, add_special_tokens=False).ids)

    async def begin(self, streams: int, tokens: int) -> None:
        """So many answers are begun, each with so many tokens."""
        for number in range(streams):
            request = _request(number)
            await self.bus.submit(request.parent_id, [request])
            self._ids.append(request.id)
        taken = await self.bus.take(self._executor, streams, 0.0)
        ids = tuple(islice(self._text, tokens))
        records: list[Record] = [Started(str(one.entry.id), one.request) for one in taken]
        self._offset = tokens
        await self.step(encode_records([*records, *(Tokens(id, 0, 0, ids) for id in self._ids)]))

    def entry(self, tokens: int) -> bytes:
        """What an engine writes next: so many tokens of each stream."""
        ids, offset = tuple(islice(self._text, tokens)), self._offset
        self._offset += tokens
        return encode_records([Tokens(id, 0, offset, ids) for id in self._ids], 1_700_000_000_000.0)

    async def step(self, entry: bytes) -> None:
        """An entry of the token stream reaches the gateway as a frame for each stream."""
        self._entries += 1
        self._frames += len(self._ids)
        self.bus.link.put(self._key, f"{self._executor.boot}-{self._entries}", entry)
        await self.meter.news.until(lambda: self._links.statistics()["frames"] >= self._frames)


@asynccontextmanager
async def detokenizer_rig(streams: int, tokens: int = 1) -> AsyncIterator[DetokenizerRig]:
    """`streams` chats, of which an entry of the token stream brings `tokens` tokens each."""
    bus, meter, tracing = MeteredBus(), Meter(), Tracing.silent()
    executor = await bus.next_boot("rig")
    await bus.announce_engine(EngineStatus(name=str(executor), state="ready"), LEASE_MS)
    await bus.birth(executor, 1)
    sessions = Sessions(vocabulary())
    links = Links(sessions.frame, streams, told=tracing.wrote)
    status = ShardStatus(shard=0, url="http://rig", instance="rig")
    owner = Owner(bus, sessions, links, status, 1, tracing=tracing)
    app = web.Application()
    FrameServer(links, "", lambda _: None).add_to(app)
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None
    ask(server, meter, "/frames", encode_attach(Attach(GATEWAY)))
    while not links.statistics()["gateways"]:  # noqa: ASYNC110 - a connection that begins writes nothing
        await asyncio.sleep(0)
    rig = DetokenizerRig(bus, meter, links, executor)
    async with asyncio.TaskGroup() as tasks:
        owning = tasks.create_task(owner.run(), name="owner")
        await rig.begin(streams, tokens)
        for _ in range(0, WARM, tokens):
            await rig.step(rig.entry(tokens))
        yield rig
        owning.cancel()
    await runner.cleanup()


def _request(number: int) -> GenerateRequest:
    parent = f"chatcmpl-{number:032x}"
    return GenerateRequest(
        id=request_id(parent, 0),
        parent_id=parent,
        index=0,
        prompt=tuple(_tokenizer().encode("Once upon a time", add_special_tokens=False).ids),
        sampling=SamplingParams(max_tokens=100_000),
        render=RenderSpec(kind="chat", model="rig", created=1_700_000_000, stream=True, choices=1, prompt_tokens=5),
        shard=0,
        gateway=GATEWAY,
    )
