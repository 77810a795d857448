"""Three gateways on one port, two shards and three engines are one server; engines join it and leave it at work.

The engines are simulated: their tokens follow from request and position alone, so any text is known beforehand.
"""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psutil
import pytest
from openai import AsyncOpenAI

from tests.e2e.stack import ROOT, Stack

CLIENTS, TOKENS = 32, 100
ROWS = 8  # of one engine: three have room for 24 of the 32, so none is without work
SLOW = f"--max-num-seqs {ROWS} --max-waiting 0 --sim-tokens-per-second {ROWS * 100}"
FAST = f"--max-num-seqs {CLIENTS} --sim-tokens-per-second 10000"
ENGINES, DETOKENIZERS, GATEWAYS = 3, 2, 3
WORKED = "sluice_engine_scheduler_tokens_committed"
MOVED = "sluice_detokenizer_owner_undertaker_moved"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one engine, one detokenizer and one gateway answer."""
    with Stack(tmp_path_factory.mktemp("one"), "--device", "sim", "--engine-args", FAST) as stack:
        return asyncio.run(all_told(stack))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    counts = ("--engines", str(ENGINES), "--gateways", str(GATEWAYS), "--detokenizers", str(DETOKENIZERS))
    with Stack(tmp_path_factory.mktemp("many"), "--device", "sim", *counts, "--engine-args", SLOW) as stack:
        for engine in range(ENGINES):
            asyncio.run(until_ready(stack, f"engine-{engine}"))
        yield stack


def opened(stack: Stack) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=60)


async def told(client: AsyncOpenAI, seed: int, begun: asyncio.Semaphore) -> str:
    stream = await client.completions.create(
        model="sluice-demo",
        prompt=f"Story number {seed}: ",
        max_tokens=TOKENS,
        temperature=seed % 2,  # half of them greedy
        seed=seed,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    text = ""
    async for chunk in stream:
        if not text:
            begun.release()
        text += chunk.choices[0].text
    return text


async def all_told(stack: Stack, begun: asyncio.Semaphore | None = None) -> list[str]:
    begun = begun or asyncio.Semaphore(0)
    async with opened(stack) as client, asyncio.TaskGroup() as tasks:
        telling = [tasks.create_task(told(client, seed, begun)) for seed in range(CLIENTS)]
    return [task.result() for task in telling]


async def until_ready(stack: Stack, engine: str) -> None:
    async with asyncio.timeout(30):
        while "sluice.engine: ready:" not in (stack.folder / f"{engine}.log").read_text():
            await asyncio.sleep(0.02)


async def metric(stack: Stack, process: str, name: str) -> float:
    return (await asyncio.to_thread(stack.metrics, process)).get(name, 0.0)


async def until_more(stack: Stack, process: str, name: str, than: float) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(OSError):  # it is just being started again
                if await metric(stack, process, name) > than:
                    return
            await asyncio.sleep(0.02)


def processes(stack: Stack, *words: str) -> list[psutil.Process]:
    """Those of the set that have all these words on their command lines."""
    living = stack.processes[0].children(recursive=True)
    return [process for process in living if set(words) <= set(process.cmdline())]


@contextmanager
def joined(stack: Stack, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more engine, started by hand beside those of the supervisor."""
    other = processes(stack, "services.engine")[0]
    command = [name if word.startswith("engine-") else word for word in other.cmdline()]
    with (stack.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=other.environ(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_many_processes_answer_as_one_of_each_does(many: Stack, texts: list[str]) -> None:
    """Every text is the one that a single engine gives, and every process had its share of the work."""
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(all_told(many, begun))
        for _ in range(ENGINES * ROWS):
            await begun.acquire()
        if sys.platform == "linux":  # elsewhere the system need not spread connections
            port = urlsplit(many.url).port
            open_at = Counter(
                gateway.pid
                for gateway in processes(many, "services.gateway")
                for connection in gateway.net_connections("tcp")
                if connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
            )
            assert len(open_at) == GATEWAYS, open_at
    assert telling.result() == texts
    assert len(set(texts)) == CLIENTS
    for engine in range(ENGINES):
        assert await metric(many, f"engine-{engine}", WORKED) >= TOKENS
    for shard in range(DETOKENIZERS):
        assert await metric(many, f"detokenizer-{shard}", "sluice_detokenizer_owner_settled") > 0


async def test_engines_join_and_leave_under_load_and_no_token_is_lost(many: Stack, texts: list[str]) -> None:
    """One is told to end and comes back, one joins and takes work, and leaves: what they ran goes on elsewhere."""
    enough, begun = asyncio.Event(), asyncio.Semaphore(0)
    answers: list[tuple[int, str]] = []

    async def ask(client: AsyncOpenAI, seed: int) -> None:
        while not enough.is_set():
            answers.append((seed, await told(client, seed, begun)))

    async def moved() -> float:
        return sum([await metric(many, f"detokenizer-{shard}", MOVED) for shard in range(DETOKENIZERS)])

    before = await moved()
    async with opened(many) as client, asyncio.TaskGroup() as tasks:
        for seed in range(CLIENTS):
            tasks.create_task(ask(client, seed))
        for _ in range(ENGINES * ROWS):
            await begun.acquire()
        with joined(many, "joined") as newcomer:
            leaver = processes(many, "services.engine", "engine-1")[0]
            leaver.terminate()
            await asyncio.to_thread(leaver.wait, 10)
            await until_ready(many, "joined")
            await until_more(many, "joined", WORKED, ROWS * 10)
            assert await moved() > before
            newcomer.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(newcomer.wait, 10) == 0
            await until_more(many, "engine-1", WORKED, 0)  # which the supervisor has started again
        enough.set()
    wrong = [seed for seed, text in answers if text != texts[seed]]
    assert not wrong
    assert {seed for seed, _ in answers} == set(range(CLIENTS))
    assert await moved() >= before + ROWS
