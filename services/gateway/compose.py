"""Puts the gateway together and keeps its tasks: the checkpoint's loading, the poll of the bus, the shards' links."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import aiohttp

from services.gateway.admission import Admission
from services.gateway.checker import checker
from services.gateway.config import GatewayConfig
from services.gateway.deps import Deps
from services.gateway.fanout import SEED_BITS
from services.gateway.instruments import Instruments
from services.gateway.keyring import Keyring
from services.gateway.link import Link
from services.gateway.model import ServedModel
from services.gateway.queue import Queue
from services.gateway.rates import Rates
from services.gateway.renderers import renderers
from services.gateway.replies import Replies
from services.gateway.status import Cluster
from services.gateway.submissions import Submissions
from services.gateway.timeline.collection import Collection
from services.gateway.timeline.looks import Looks
from services.gateway.tracing import Tracing
from shared.bus import Bus
from shared.telemetry import service as telemetry
from shared.telemetry.sampling import sampler


@asynccontextmanager
async def opened(config: GatewayConfig, bus: Bus) -> AsyncIterator[Deps]:
    """A gateway at work, without its HTTP server. An error in one of its tasks ends all, and is raised from here."""
    keyring = Keyring(config.api_keys, config.api_keys_file, config.quota)
    name = f"gateway-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(config.tokenizer_threads, thread_name_prefix="tokenizer") as threads:
        async with (
            aiohttp.ClientSession() as http,
            renderers(config.template_timeout_s) as templates,
            checker(config.grammar_timeout_s) as grammars,
        ):
            replies = Replies(config.mailbox_frames)
            queue = Queue(config.max_queued_requests, config.max_queued_tokens, config.queue_share)
            told = telemetry.opened("gateway", name, os.environ, lambda: deps.statistics(), config.trace_slow_s)
            instruments = Instruments(told.metrics)
            among = config.internal_token, http, replies, instruments.heard
            links = [Link(shard, name, *among) for shard in range(config.shards)]
            deps = Deps(
                config=config,
                gateway=name,
                started_s=int(time.time()),
                bus=bus,
                model=ServedModel(config, threads, templates, grammars),
                checker=grammars,
                cluster=Cluster(bus, config.shards, replies.owned_by, queue.look),
                replies=replies,
                admission=Admission(config.max_open_requests, queue.retry_after_s),
                queue=queue,
                keyring=keyring,
                rates=Rates(time.monotonic),
                submissions=Submissions(bus),
                looks=Looks(
                    Collection(bus, config.shards, http, config.internal_token, name, lambda s: deps.ops().spans(s))
                ),
                telemetry=told,
                tracing=Tracing(told.recorder, instruments, sampler(os.environ)),
                now_ms=lambda: time.time_ns() // 1_000_000,
                seed=lambda: secrets.randbits(SEED_BITS),
                nonce=lambda: secrets.token_hex(12),
            )
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(deps.model.load(), name="load"),
                    tasks.create_task(replies.run(links), name="replies"),
                    tasks.create_task(deps.cluster.run(), name="status"),
                    tasks.create_task(deps.submissions.run(), name="submissions"),
                    tasks.create_task(deps.telemetry.run(), name="telemetry"),
                    tasks.create_task(deps.keyring.watch(), name="keys"),
                ]
                yield deps
                for task in running:
                    task.cancel()
