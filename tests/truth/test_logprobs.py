"""Scores of drawn tokens against what transformers' logits say, whatever shapes the draw and however the step ran."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from services.engine.worker.worker import Worker
from shared.types import SamplingParams, Score, TokenIds
from tests.truth.conftest import Reference
from tests.truth.driver import Way, generate, request

PLAIN = SamplingParams(max_tokens=24, temperature=0, logprobs=5)
KINDS = {
    "greedy": PLAIN,
    "none beside": replace(PLAIN, logprobs=0),
    "most": replace(PLAIN, logprobs=20),
    "drawn": replace(PLAIN, temperature=1.3, seed=4, top_p=0.9),
    "penalised": replace(PLAIN, repetition_penalty=1.8, presence_penalty=1.0),
    "steered": replace(PLAIN, allowed_ids=tuple(range(40, 60)), bias_ids=(41,), biases=(3.0,)),
    "constrained": replace(PLAIN, temperature=1.0, seed=9, grammar="start: /[a-f]+/"),
}


def expect(logits: torch.Tensor, drawn: TokenIds, scores: tuple[Score, ...], k: int) -> None:
    """logits [n, vocab] are those that each token was drawn from."""
    every = logits.log_softmax(-1)
    assert len(scores) == len(drawn)
    for row, token, score in zip(every, drawn, scores, strict=True):
        assert score.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert abs(score.rank - 1 - int((row > row[token]).sum())) <= 1  # neighbours may be closer than rounding
        best = row.topk(k).values.tolist() if k else []
        assert list(score.logprobs) == pytest.approx(best, abs=1e-4)
        assert [float(row[id]) for id in score.ids] == pytest.approx(best, abs=1e-4)
        assert list(score.logprobs) == sorted(score.logprobs, reverse=True)


@pytest.mark.parametrize("way", [Way(), Way(budget=64, blocks=60)], ids=str)
async def test_scores_are_those_of_the_models_own_logits(
    way: Way, worker: Callable[[str], Worker], folder: Callable[[str], Path], reference: Reference
) -> None:
    """Rows that want none lie between those that want some; with few blocks some of them are preempted."""
    prompts, _ = reference("qwen3")
    asked = {}
    for k, (name, sampling) in enumerate(KINDS.items()):
        asked[f"{name}.0"] = request(name, prompts[k], sampling)
        asked[f"quiet{k}.0"] = request(f"quiet{k}", prompts[k], replace(sampling, logprobs=-1))
    told = await generate(worker("qwen3"), asked.values(), way)
    assert told.scores.keys() == {f"{name}.0" for name in KINDS}
    model = AutoModelForCausalLM.from_pretrained(folder("qwen3"), dtype=torch.float32)
    for k, (name, sampling) in enumerate(KINDS.items()):
        drawn = told.tokens[f"{name}.0"]
        assert drawn == told.tokens[f"quiet{k}.0"]
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompts[k], *drawn]])).logits[0]
        at = slice(len(prompts[k]) - 1, len(prompts[k]) - 1 + len(drawn))
        expect(logits[at], drawn, told.scores[f"{name}.0"], sampling.logprobs)


@pytest.mark.parametrize("way", [Way(), Way(budget=64, blocks=70)], ids=str)
async def test_a_prompts_scores_are_those_of_the_models_own_logits(
    way: Way, worker: Callable[[str], Worker], folder: Callable[[str], Path], reference: Reference
) -> None:
    """In chunks, beside others, after preemptions, and where the prefix lies in the cache; told once, with the first
    token. A request that goes on elsewhere has told it."""
    prompts, _ = reference("qwen3")
    sampling = replace(PLAIN, max_tokens=30)
    chosen = [k for k, prompt in enumerate(prompts) if len(prompt) <= 512][:24]
    warm = [request(f"warm{k}", prompts[k], replace(PLAIN, max_tokens=2)) for k in chosen[:8]]
    await generate(worker("qwen3"), warm, way)
    asked = [request(f"{k}", prompts[k], replace(sampling, prompt_logprobs=k % 6 - 1)) for k in chosen]
    moved = request("moved", prompts[8], replace(sampling, prompt_logprobs=2), output=prompts[9][:3])
    told = await generate(worker("qwen3"), [*warm, *asked, moved], way)
    wanting = [k for k in chosen if k % 6 and len(prompts[k]) > 1]
    assert told.prompts.keys() == {f"{k}.0" for k in wanting}
    model = AutoModelForCausalLM.from_pretrained(folder("qwen3"), dtype=torch.float32)
    for k in wanting:
        with torch.inference_mode():
            logits = model(torch.tensor([prompts[k]])).logits[0]
        expect(logits[:-1], prompts[k][1:], told.prompts[f"{k}.0"], k % 6 - 1)
    assert not way.blocks or told.statistics["preemptions"] > 0
