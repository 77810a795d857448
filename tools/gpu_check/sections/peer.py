"""transformers' own continuous batching on the same workload, on the same card in the same run.

Its manager as `generate_batch` uses it, with its default settings, and each request with its own length, which
`generate_batch` cannot say. Attention is SDPA: flash-attn, which it prefers, is not in the image of the machine this
was made for, so the figure says what transformers reaches there and not what it could reach. It runs as long as there
is time; where that is not enough for all requests, the rate is of the tokens that came, unfinished answers included.
"""

import time
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.generation import ContinuousBatchingConfig
from transformers.generation.continuous_batching.utils import WorkloadHints

from tools.gpu_check.job import Failed, Job
from tools.gpu_check.sections.offline import model_workload
from tools.gpu_check.shapes import CONFIGS, write_config
from tools.gpu_check.verdict import TIMES
from tools.gpu_check.workload import TEMPERATURE, Ask, tokens_out

SPARE_S = 6.0  # to stop and to tell
NOTE = "SDPA attention, as flash-attn is not in this image; the same weights' shape, prompts and lengths"


def run(job: Job) -> None:
    model, name = make_model(job), job.part
    asks = model_workload(name, job.settings.requests, dry=job.settings.dry)
    hints = WorkloadHints(max(len(ask.prompt) for ask in asks), max(ask.tokens for ask in asks), len(asks))
    small = {} if job.card.kind == "cuda" else {"num_blocks": 64, "max_batch_tokens": 256, "page_size": 32}
    batching = accepted(ContinuousBatchingConfig, auto_switch_to_flash=False, **small)
    sampling = GenerationConfig(do_sample=True, temperature=TEMPERATURE, top_k=0, eos_token_id=-1, max_new_tokens=1)
    context = model.continuous_batching_context_manager(
        generation_config=sampling, continuous_batching_config=batching, workload_hints=hints, timeout=SPARE_S
    )
    with context as manager:
        tokens, seconds, finished = measure(manager, asks, job.left_s - SPARE_S)
    rate = tokens / seconds
    figures = {"tok/s": rate, "tokens": tokens, "requests finished": finished}
    if offline := job.known("offline", name, "tok/s"):
        figures[TIMES] = offline / rate
    job.row(name, figures, NOTE + ("" if finished == len(asks) else f"; cut off after {seconds:.0f} s"))
    job.say(f"{name}: {rate:,.0f} tok/s, {finished} of {len(asks)} requests finished")
    if not tokens:
        raise Failed("not one token came")


def make_model(job: Job) -> Any:
    """Random weights, made on the card."""
    config = AutoConfig.from_pretrained(write_config(job.part, job.folder / job.part))
    dtype = getattr(torch, CONFIGS[job.part]["dtype"])
    with torch.device(job.card.device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()


def measure(manager: Any, asks: Sequence[Ask], limit_s: float) -> tuple[int, float, int]:
    """(tokens, seconds, requests that finished), from the first request handed over."""
    began = time.perf_counter()
    for number, ask in enumerate(asks):
        manager.add_request(list(ask.prompt), request_id=str(number), max_new_tokens=ask.tokens, eos_token_id=-1)
    answers: dict[str, int] = {}
    ended = began
    while len(answers) < len(asks) and (left := began + limit_s - time.perf_counter()) > 0 and manager.is_running():
        if (result := manager.get_result(timeout=min(left, 1.0))) is not None:
            if result.error is not None:
                raise Failed(f"transformers: {result.error}")
            answers[result.request_id] = len(result.generated_tokens)
            ended = time.perf_counter()
    if len(answers) == len(asks):
        if sum(answers.values()) != tokens_out(asks):
            raise Failed(f"transformers gave {sum(answers.values())} tokens, {tokens_out(asks)} were asked for")
        return sum(answers.values()), ended - began, len(asks)
    finished, seconds = len(answers), time.perf_counter() - began
    if "hard_stop" in signature(manager.stop).parameters:  # what did not finish is given back with what it has
        manager.stop(block=True, timeout=SPARE_S / 2, hard_stop=True)
        while (result := manager.get_result(timeout=0.1)) is not None:
            answers[result.request_id] = len(result.generated_tokens)
    return sum(answers.values()), seconds, finished


def accepted(make: Callable[..., Any], **fields: Any) -> Any:
    """Made with those of the fields that this version of transformers knows."""
    known = signature(make).parameters
    return make(**{name: value for name, value in fields.items() if name in known})
