"""What the engine counts, by the names under which /metrics tells it (docs/telemetry.md).

Histograms are observed once for a step or a request, never for a token. What the scheduler counts itself is read when
somebody asks.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.engine.core.scheduler import Scheduler
from services.engine.gaps import Cause
from shared.telemetry.metrics import FIRST_TOKEN_S, HOP_S, PER_TOKEN_S, STEP_S, Metrics
from shared.types import LANES, FinishReason

TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
AGES_S = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)
COUNTED = {  # what the scheduler's statistics call it
    "preemptions": ("preemptions", "Requests taken back for want of KV cache"),
    "prefix_cache_queries": ("prefix_queries", "Tokens looked up in the prefix cache"),
    "prefix_cache_hits": ("prefix_hits", "Tokens found there and not computed again"),
    "generation_tokens": ("tokens_committed", "Tokens drawn and told"),
}


class Measures:
    def __init__(self, metrics: Metrics) -> None:
        """Each instrument with all its label values at once, so that a dashboard finds them before they count."""
        queue = metrics.histogram("queue_seconds", "From queued until first planned", ["lane"])
        self.queue = {lane: queue.labels(lane) for lane in LANES}
        hop = metrics.histogram("hop_seconds", "How long things are on their way", ["hop"], buckets=HOP_S)
        self.hop = hop.labels("requests")
        self.first_token = metrics.histogram("first_token_seconds", "From taken to first token", buckets=FIRST_TOKEN_S)
        self.prefill = metrics.histogram("prefill_seconds", "From first planned to first token")
        self.decode = metrics.histogram("decode_seconds", "From first token to last")
        self.inference = metrics.histogram("inference_seconds", "From first planned to the end")
        self.token = metrics.histogram("token_seconds", "From step to step of decoding", buckets=PER_TOKEN_S)
        about = "Of a request, that ended"
        self.prompt = metrics.histogram("request_prompt_tokens", about, buckets=TOKENS)
        self.generation = metrics.histogram("request_generation_tokens", about, buckets=TOKENS)
        self.most = metrics.histogram("request_max_tokens", about, buckets=TOKENS)
        self.choices = metrics.histogram("request_choices", "Of a client's request", buckets=(1, 2, 4, 8, 16, 64, 256))
        self.preempted = metrics.histogram("request_preemptions", about, buckets=(0, 1, 2, 4, 8, 16))
        ends = metrics.counter("requests", "Requests that ended here", ["reason"])
        self.ended = {reason.value: ends.labels(reason.value) for reason in FinishReason}
        self.ended |= {word: ends.labels(word) for word in ("fenced", "set aside")}
        prompts = metrics.counter("prompt_tokens", "Prompt tokens", ["source"])
        self.computed, self.cached = prompts.labels("computed"), prompts.labels("cached")
        step = metrics.histogram("step_seconds", "Phases of a step", ["phase"], buckets=STEP_S)
        self.plan, self.pack, self.launch, self.device, self.commit = (
            step.labels(phase) for phase in ("plan", "pack", "launch", "device", "commit")
        )
        kinds = metrics.counter("steps", "Steps that ended", ["kind"])
        self.kinds = {kind: kinds.labels(kind) for kind in ("decode", "prefill", "mixed")}
        self.graphs = metrics.counter("graph_steps", "Steps that were replayed from a captured graph")
        self.step_tokens = metrics.histogram("step_tokens", "Tokens computed by a step", buckets=TOKENS)
        self.busy = metrics.counter("device_busy_seconds", "Of the device, in steps")
        idle = metrics.counter("device_idle_seconds", "Of the device, between steps, by what it waited for", ["cause"])
        self.idle = {cause: idle.labels(cause) for cause in Cause}
        self.bytes = metrics.counter("worker_bytes", "Sent to the device")
        self.fences = metrics.counter("fences", "Times this engine found itself ended by others")
        self.stalls = metrics.counter("stalls", "Steps that did not end in their time")
        ages = {
            "lifetime": metrics.histogram("kv_block_lifetime_seconds", "From given out to given up", buckets=AGES_S),
            "idle": metrics.histogram(
                "kv_block_idle_before_evict_seconds", "From the last use of a block to its eviction", buckets=AGES_S
            ),
            "reuse": metrics.histogram("kv_block_reuse_gap_seconds", "Between uses of a block's text", buckets=AGES_S),
        }
        self._scheduler = _Scheduled(metrics.prefix, ages)
        metrics.registry.register(self._scheduler)

    def watch(self, scheduler: Scheduler) -> None:
        """It is there: from now on what it counts is told."""
        self._scheduler.watched = scheduler


class _Scheduled(Collector):
    """What the scheduler counts, read when somebody asks."""

    def __init__(self, prefix: str, ages: Mapping[str, Histogram]) -> None:
        self._prefix = prefix
        self._ages = ages
        self.watched: Scheduler | None = None

    def collect(self) -> Iterable[Metric]:
        counts: Mapping[str, float] = self.watched.statistics() if self.watched else {}
        for name, (key, about) in COUNTED.items():
            yield CounterMetricFamily(f"{self._prefix}_{name}", about, value=counts.get(key, 0))
        blocks = counts.get("num_blocks", 0)
        used = 1 - counts["free_blocks"] / blocks if blocks else 0.0
        yield GaugeMetricFamily(f"{self._prefix}_kv_cache_usage_ratio", "Share of the blocks in use", value=used)
        shape = self.watched.config if self.watched else None
        names = ("num_blocks", "block_size", "max_num_seqs", "max_batched_tokens", "max_model_len")
        info = GaugeMetricFamily(
            f"{self._prefix}_cache_config_info", "What this engine may use; always 1", labels=names
        )
        if shape is not None:
            info.add_metric([str(getattr(shape, name)) for name in names], 1)
        yield info
        running = counts.get("running", 0)
        yield GaugeMetricFamily(f"{self._prefix}_requests_running", "Requests that have a row", value=running)
        waiting = GaugeMetricFamily(f"{self._prefix}_requests_waiting", "Requests without one", labels=["lane"])
        for lane, count in (self.watched.waiting.lengths() if self.watched else dict.fromkeys(LANES, 0)).items():
            waiting.add_metric([lane], count)
        yield waiting
        for what, seconds in self.watched.block_ages.take() if self.watched else ():
            self._ages[what].observe(seconds)

    def describe(self) -> Iterable[Metric]:
        """Nothing is known of them before somebody asks."""
        return ()
