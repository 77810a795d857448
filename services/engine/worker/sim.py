"""`--device sim`: a worker that computes nothing and takes the time a card would take. For load tests and capacity
planning: scheduler, bus, detokenizer and gateway are the real ones, as if there were a card. No torch.

Steps run one behind another as on a CUDA stream; the ends are kept exactly, whatever the grain of the event loop's
timers, so that a rate is met on average. A drawn token is a word (`words.py`), a function of the request and the
position alone, so another engine that goes on with a request draws what this one would have. With `--sim-words clock`
it is the time at which its step ends, so a client reads from the text how old it is; there a request that moves to
another engine goes on with other words.
"""

import asyncio
import math
import time
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn
from zlib import crc32

from services.engine.config import EngineConfig
from services.engine.core.step import RowAdd, StepPlan, StepResult
from services.engine.worker.cost import Card, CostModel, cost_model
from services.engine.worker.limits import context
from services.engine.worker.models.config import model_config
from services.engine.worker.sizes import sizes
from services.engine.worker.words import clock_words, words
from shared.checkpoint import Progress, read_config
from shared.errors import ConfigError
from shared.types import SamplingParams, Score, TokenIds

TICK_S = 250e-6  # from one word of the clock to the next
GRAIN_S = 1e-3  # how late a loop's timer may be: uvloop and epoll count milliseconds
ITEMSIZE = {"float32": 4, "float16": 2, "bfloat16": 2}
MASK = (1 << 64) - 1
NEVER = 1 << 62


class _Row(NamedTuple):
    key: int
    stop: int  # the id that may end it
    stops_from: int  # the position from which on it may
    score: Score | None  # of each of its draws, if it wants to know: all words are equally likely
    probed: int  # tokens of the prompt that are followed by another, whose scores it wants
    before: Score | None  # of those


class _Step(NamedTuple):
    end: float  # on the worker's clock
    future: asyncio.Future[StepResult]
    result: StepResult


@dataclass(slots=True)
class _Counters:
    steps: int = 0
    tokens: int = 0  # that would have been computed
    steps_done: int = 0
    busy_seconds: float = 0.0
    idle_seconds: float = 0.0  # between the end of a step and the start of the next


class SimWorker:
    """Executes plans; see `core.ports.OpenWorker`. `clock` counts seconds as the running loop's timers do.

    One that `tells_time` draws word number `end of the step / TICK_S`, modulo the size of its vocabulary.
    """

    def __init__(
        self,
        cost: CostModel,
        vocabulary: Sequence[int],
        *,
        num_blocks: int,
        max_model_len: int,
        vocab_size: int,
        max_num_seqs: int,
        max_batched_tokens: int,
        stop_probability: float = 0.0,
        tells_time: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_blocks = num_blocks
        self.max_model_len = max_model_len
        self.vocab_size = vocab_size
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens
        self._cost = cost
        self._vocabulary = vocabulary
        self._stop_below = int(stop_probability * (1 << 32))
        self._tells_time = tells_time
        self._clock = clock
        self._rows: dict[int, _Row] = {}
        self._queue: deque[_Step] = deque()  # submitted and not over; a timer runs for the first
        self._free_at = 0.0  # when the last submitted step ends; 0 before the first
        self._late = 0.0  # how late the end of the last step was seen: the timer's fault, not the caller's
        self._lost: asyncio.Future[None] | None = None
        self._counters = _Counters()

    def submit(self, plan: StepPlan) -> Awaitable[StepResult]:
        future: asyncio.Future[StepResult] = asyncio.get_running_loop().create_future()
        seconds = self._cost.seconds(plan.work)
        start = self._start()
        self._count(plan, start, seconds)
        times = round(start * 1e9), round(self._free_at * 1e9)
        tokens, scores = self._draw(plan)
        result = StepResult(plan.step, tokens, (), scores, self._prompt_scores(plan), times[0], times[1])
        self._queue.append(_Step(self._free_at, future, result))
        if len(self._queue) == 1:
            self._arm()
        return future

    async def prepare(self, grammar: str) -> str:
        return "this engine runs with --device sim, whose words follow no grammar: it has no structured output"

    def statistics(self) -> dict[str, float]:
        return asdict(self._counters)

    def fail(self, error: Exception) -> None:
        """What is not there is lost only when somebody says so."""
        for future in (self._lost, *(step.future for step in self._queue)):
            if future is not None and not future.done():
                future.set_exception(error)

    async def failure(self) -> NoReturn:
        self._lost = asyncio.get_running_loop().create_future()
        await self._lost
        raise AssertionError("a loss is an exception")

    def close(self) -> None:
        """Nothing to give back: what was submitted ends with the loop, or in its time."""

    def _start(self) -> float:
        """When a step that is submitted now begins: behind those before it, else now, but for the timer's lateness."""
        return max(self._free_at, self._clock() - self._late)

    def _count(self, plan: StepPlan, start: float, seconds: float) -> None:
        counters = self._counters
        counters.steps += 1
        counters.tokens += plan.num_tokens
        counters.busy_seconds += seconds
        if self._free_at:
            counters.idle_seconds += start - self._free_at
        self._free_at = start + seconds

    def _arm(self) -> None:
        asyncio.get_running_loop().call_later(max(0.0, self._queue[0].end - self._clock()), self._end)

    def _end(self) -> None:
        step = self._queue.popleft()
        self._late = min(GRAIN_S, max(0.0, self._clock() - step.end))
        self._counters.steps_done += 1
        if not step.future.done():  # whoever waited may have been cancelled
            step.future.set_result(step.result)
        if self._queue:
            self._arm()

    def _draw(self, plan: StepPlan) -> tuple[TokenIds, tuple[tuple[int, Score], ...]]:
        """Apply the plan's rows and draw for each work that samples. All is known now: a token depends on no other."""
        rows, vocabulary, size, below = self._rows, self._vocabulary, len(self._vocabulary), self._stop_below
        for gone in plan.removed:
            rows.pop(gone, None)
        for add in plan.added:
            rows[add.row] = self._row(add)
        tick = int(self._free_at / TICK_S) % size if self._tells_time else -1
        drawn: list[int] = []
        scores: list[tuple[int, Score]] = []
        for work in plan.work:
            if work.samples:
                key, stop, stops_from, score, _, _ = rows[work.row]
                if score is not None:
                    scores.append((len(drawn), score))
                position = work.start + work.count
                bits = scramble(key + position * 0x9E3779B97F4A7C15)
                ends = position >= stops_from and bits & 0xFFFFFFFF < below
                word = tick if tick >= 0 else (bits >> 32) * size >> 32
                drawn.append(stop if ends else vocabulary[word])
        return tuple(drawn), tuple(scores)

    def _row(self, add: RowAdd) -> _Row:
        sampling = add.sampling
        key = request_key(add.tokens[: add.prompt_len], sampling)
        stops = [id for id in sampling.stop_ids if 0 <= id < self.vocab_size]
        stop, stops_from = (stops[0], add.prompt_len + sampling.min_tokens) if stops else (0, NEVER)
        probed = add.prompt_len - 1 if len(add.tokens) == add.prompt_len else 0
        scores = self._score(sampling.logprobs), probed, self._score(sampling.prompt_logprobs)
        return _Row(key, stop, stops_from, *scores)

    def _prompt_scores(self, plan: StepPlan) -> tuple[tuple[int, tuple[Score, ...]], ...]:
        told = []
        for work in plan.work:
            row = self._rows[work.row]
            if row.before is not None and work.start < row.probed:
                told.append((work.row, (row.before,) * min(work.count, row.probed - work.start)))
        return tuple(told)

    def _score(self, k: int) -> Score | None:
        if k < 0:
            return None
        each, ids = round(-math.log(len(self._vocabulary)), 6), tuple(self._vocabulary[:k])
        return Score(each, 1, ids, (each,) * len(ids))


def request_key(prompt: TokenIds, sampling: SamplingParams) -> int:
    """64 bits that stand for the request on every engine: the prompt, and the seed unless it is greedy."""
    seed = sampling.seed if sampling.temperature > 0 else 0
    return scramble(seed + (crc32(array("i", prompt).tobytes()) << 32))


def scramble(bits: int) -> int:
    """The finalizer of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014)."""
    bits &= MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def open_sim(config: EngineConfig, folder: Path, progress: Progress = lambda message, share: None) -> SimWorker:
    """The counterpart of `open_worker`; of the checkpoint it needs config.json and tokenizer.json, and no weights.

    Raises ConfigError in one line for what is not supported or would not fit the card.
    """
    model = model_config(read_config(folder))
    dtype = model.dtype if config.dtype == "auto" else config.dtype
    if dtype not in ITEMSIZE:
        raise ConfigError(f"model: dtype {dtype} is not supported; choose --dtype float32 or bfloat16")
    card = Card(
        bandwidth=config.sim_bandwidth * 1e12,
        flops=config.sim_flops * 1e12,
        memory=config.sim_memory * 1e9,
        overhead_s=config.sim_overhead_us * 1e-6,
    )
    cost = cost_model(
        model, card, ITEMSIZE[dtype], speed=config.sim_speed, tokens_per_second=config.sim_tokens_per_second
    )
    fit = cost.blocks(config.block_size, config.gpu_memory_utilization)
    if fit < 2:
        weights = f"{cost.weight_bytes / 1e9:.1f} GB of weights"
        raise ConfigError(f"{weights} leave no KV cache on a card of --sim-memory {config.sim_memory:g} GB")
    asked = sizes(config, model.max_model_len, on_card=True)
    size = asked.block_size
    blocks = config.kv_blocks or min(fit, asked.rows * -(-asked.max_model_len // size))
    tells_time = config.sim_words == "clock"
    worker = SimWorker(
        cost,
        (clock_words if tells_time else words)(folder, model.vocab_size),
        num_blocks=blocks,
        max_model_len=context(config.max_model_len, model.max_model_len, blocks, size),
        vocab_size=model.vocab_size,
        max_num_seqs=asked.rows,
        max_batched_tokens=asked.tokens,
        stop_probability=config.sim_stop_probability,
        tells_time=tells_time,
    )
    progress("ready", 1.0)
    return worker
