"""The 256-request workload in one process: scheduler, loop and worker, in a model's shape with random weights.

Output tokens in a second, from the first request handed over to the last token told; that as a share of the ceiling
(`ceiling.py`) by what this card was measured to read and multiply; how long the device lay idle in steady decode, by
its own events; and what a step costs the loop's thread. Before it runs one pass of the same prompts with short answers,
which compiles what is not compiled yet; behind it another, of which a few decode steps are profiled: a process whose
kernels were once watched may be slower ever after.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.profiler import profile

from services.engine.core.events import Submit
from services.engine.worker.models.config import model_config
from services.engine.worker.pack import Packer
from services.engine.worker.worker import Worker
from shared.checkpoint import read_config
from shared.types import SamplingParams
from tools.gpu_check.card import Kernel
from tools.gpu_check.ceiling import Ceiling, ceiling
from tools.gpu_check.engine import BLOCK, Run, open_engine, submits
from tools.gpu_check.engine import run as generate
from tools.gpu_check.job import Failed, Job
from tools.gpu_check.report import Value
from tools.gpu_check.sections.environment import roofs
from tools.gpu_check.shapes import CONFIGS, write_config
from tools.gpu_check.verdict import BYTES, CEILING_SHARE, IDLE_SHARE, PLAN_MS
from tools.gpu_check.workload import TEMPERATURE, Ask, tokens_out, workload

LONGEST = 4096  # tokens, prompt and answer; of the model where it allows less
FROM, STEPS = 4, 8  # profiled, counted from the first step without prefill
WARM = 4 * (FROM + STEPS)  # tokens of an answer in the pass before: nobody's has ended by then
FEW = 32  # rows; smaller batches are the tail, where what a step costs beside the model weighs most
SHOWN = 15  # kernels


def run(job: Job) -> None:
    model = job.part
    asks = model_workload(model, job.settings.requests, dry=job.settings.dry)
    folder = write_config(model, job.folder / model)
    least = ceiling(model_config(read_config(folder)), asks, roofs(job))
    longest = min(LONGEST, CONFIGS[model]["max_position_embeddings"])
    fields = {"max_num_seqs": job.settings.requests, "max_model_len": longest, "load_format": "dummy"}
    worker = open_engine(folder, job.card.kind, **fields)
    try:
        job.say(f"{model}: {worker.num_blocks * BLOCK:,} tokens of KV cache, {job.card.memory():.1f} GiB in use")
        short = [Ask(ask.prompt, min(ask.tokens, WARM)) for ask in asks]
        before = generate(worker, _requests(short), keep=True)
        few = min(FEW, job.settings.requests // 8)
        done = generate(worker, _requests(asks), few=few)
        pack_ms = before.watch.pack_ms(Packer(-(-longest // BLOCK), worker.vocab_size))
        _tell(job, asks, least, done, few, pack_ms)
        seen = Profiled(job, worker)
        generate(worker, _requests(short), on_decode=seen.at)
        job.text(f"{model}: the longest kernels of a decode step", seen.table())
    finally:
        worker.close()


def _tell(job: Job, asks: Sequence[Ask], least: Ceiling, done: Run, few: int, pack_ms: float) -> None:
    model = job.part
    if done.tokens != tokens_out(asks):
        raise Failed(f"{done.tokens} tokens came, {tokens_out(asks)} were asked for")
    rate = done.tokens / done.seconds
    figures: dict[str, Value] = {"tok/s": rate, "ceiling tok/s": least.tokens_per_s}
    figures |= {CEILING_SHARE: rate / least.tokens_per_s, IDLE_SHARE: done.watch.steady_idle}
    job.row(model, figures | _costs(done, pack_ms))
    tail = [step for step in done.watch.steps if step.rows < few]
    job.row(
        f"{model}, below {few} rows",
        {"share of steps": len(tail) / len(done.watch.steps), IDLE_SHARE: done.watch.tail_idle},
    )
    job.say(f"{model}: {rate:,.0f} tok/s, {rate / least.tokens_per_s:.1%} of {least.tokens_per_s:,.0f}")


def model_workload(model: str, requests: int, *, dry: bool, seed: int = 0) -> tuple[Ask, ...]:
    """Its ids are ids of the model."""
    return workload(requests, dry=dry, seed=seed, ids=min(10_000, CONFIGS[model]["vocab_size"] - 1))


@dataclass(slots=True)
class Profiled:
    """A few decode steps under the profiler; `at` hears of each step of a stretch of them."""

    job: Job
    worker: Worker
    _profile: profile | None = None  # while it runs
    _steps: int = 0
    _kernels: tuple[Kernel, ...] | None = None

    def at(self, count: int) -> None:
        if count == FROM and self._profile is None and self._kernels is None:
            self._profile = self.job.card.profile()
            self._profile.start()
            self._steps = int(self.worker.statistics()["steps_done"])
        elif count == FROM + STEPS and self._profile is not None:
            self._profile.stop()
            self._steps = int(self.worker.statistics()["steps_done"]) - self._steps
            self._kernels, self._profile = tuple(self.job.card.kernels(self._profile)), None

    def table(self) -> str:
        """Microseconds of one step."""
        kernels, steps = self._kernels or (), max(self._steps, 1)
        whole = sum(kernel.microseconds for kernel in kernels) or 1.0
        lines = [f"{'us':>9} {'share':>7} {'calls':>7}  kernel, of {self._steps} steps"]
        for name, calls, taken in kernels[:SHOWN]:
            lines.append(f"{taken / steps:9.1f} {taken / whole:7.1%} {calls / steps:7.1f}  {name[:80]}")
        lines.append(f"{whole / steps:9.1f} {1:7.1%}          all {len(kernels)} kernels")
        return "\n".join(lines)


def _requests(asks: Sequence[Ask]) -> list[Submit]:
    drawn = enumerate(asks)
    return submits((a.prompt, SamplingParams(max_tokens=a.tokens, temperature=TEMPERATURE, seed=n)) for n, a in drawn)


def _costs(done: Run, pack_ms: float) -> dict[str, Value]:
    """Of the loop's thread for a step without prefill, medians; and of all threads, the mean over all steps."""
    steady = done.watch.steady()
    return {
        "plan ms": steady.plan_ms,
        "pack ms": pack_ms,
        "submit ms": steady.submit_ms,
        PLAN_MS: steady.both_ms,
        BYTES: steady.bytes,
        "CPU ms of all threads": 1000 * done.cpu_s / len(done.watch.steps),
        "steps": len(done.watch.steps),
    }
