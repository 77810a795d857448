"""What is drawn follows the distribution that was asked for, and is the same wherever and with whomever it is drawn."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from services.engine.worker.worker import Worker
from shared.types import SamplingParams
from tests.truth.conftest import Reference, answer_length
from tests.truth.driver import Way, generate, request
from tests.unit.engine.worker.steps import Bench, Row

DRAWS = 20_000
VOCABULARY = 60
SHAPES = {
    "plain": SamplingParams(max_tokens=1),
    "cold": SamplingParams(max_tokens=1, temperature=0.5),
    "hot": SamplingParams(max_tokens=1, temperature=3.0),
    "top-k": SamplingParams(max_tokens=1, top_k=12),
    "top-p": SamplingParams(max_tokens=1, top_p=0.8),
    "min-p": SamplingParams(max_tokens=1, min_p=0.1),
    "all": SamplingParams(max_tokens=1, temperature=1.5, top_k=30, top_p=0.9, min_p=0.05),
}


def distribution(s: SamplingParams, logits: torch.Tensor) -> torch.Tensor:
    """The probabilities by definition, in float64, one candidate at a time."""
    p = (logits.double() / s.temperature).softmax(-1)
    order = p.argsort(descending=True).tolist()[: s.top_k or None]
    total, kept, before = sum(float(p[i]) for i in order), [], 0.0
    for token in order:
        if before / total < s.top_p and float(p[token]) >= s.min_p * float(p[order[0]]):
            kept.append(token)
        before += float(p[token])
    q = torch.zeros_like(p)
    q[kept] = p[kept]
    return q / q.sum()


@pytest.mark.parametrize("across", ["seeds", "positions"])
@pytest.mark.parametrize("shape", SHAPES)
def test_twenty_thousand_draws_match_the_distribution(shape: str, across: str) -> None:
    """Chi-square over all tokens expected five times or more; what was cut off never occurs.

    Drawn once with as many seeds and once with as many positions of one seed, as a long text would be.
    """
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(8)) * 1.5
    bench, rows = Bench(1000, VOCABULARY, max_model_len=40), range(1000)
    ids: list[int] = []
    for part in range(DRAWS // 1000):
        if across == "seeds":
            batch = [Row(replace(SHAPES[shape], seed=1000 * part + k), (1, 2)) for k in rows]
        else:
            batch = [Row(replace(SHAPES[shape], seed=k), (1,) * (part + 1)) for k in rows]
        ids += bench.draw(batch, logits.repeat(1000, 1))[0]
    counts = torch.bincount(torch.tensor(ids), minlength=VOCABULARY).double()
    expected = distribution(SHAPES[shape], logits) * DRAWS
    assert counts[expected == 0].sum() == 0
    usual = expected >= 5
    degrees = int(usual.sum()) - 1
    statistic = float(((counts - expected)[usual] ** 2 / expected[usual]).sum())
    assert degrees >= 4
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5 + 6  # far below one chance in ten thousand


async def test_equal_seeds_give_equal_text_whatever_else_is_in_the_batch(
    worker: Callable[[str], Worker], reference: Reference
) -> None:
    """Alone, among sixty-three others, in chunks and preempted: a seed and a prompt have one text."""
    prompts, _ = reference("qwen3")
    shapes = list(SHAPES.values())
    asked = [
        request(str(k), prompt, replace(shapes[k % len(shapes)], seed=k, max_tokens=answer_length(prompt)))
        for k, prompt in enumerate(prompts)
    ]
    together = await generate(worker("qwen3"), asked, Way(budget=4096))
    squeezed = await generate(worker("qwen3"), asked, Way(budget=80, blocks=80, stateless=True))
    assert squeezed.tokens == together.tokens
    assert squeezed.statistics["preemptions"] > 0
    for one in asked[::9]:
        alone = await generate(worker("qwen3"), [one], Way(overlap=False))
        assert alone.tokens[one.id] == together.tokens[one.id]
    reseeded = [replace(one, sampling=replace(one.sampling, seed=one.sampling.seed + 1000)) for one in asked]
    others = await generate(worker("qwen3"), reseeded, Way(budget=4096))
    assert sum(others.tokens[one.id] != together.tokens[one.id] for one in asked) > 55


async def test_a_request_that_moves_goes_on_with_the_same_text(
    worker: Callable[[str], Worker], reference: Reference
) -> None:
    """Prompt and output so far are prefilled together; penalties and min_tokens go on from there."""
    prompts, _ = reference("llama")
    sampling = SamplingParams(max_tokens=24, temperature=1.2, seed=5, presence_penalty=0.8, repetition_penalty=1.3)
    sampling = replace(sampling, min_tokens=20, stop_ids=tuple(range(0, 1024, 2)))
    for name in (3, 30, 60):
        whole = await generate(worker("llama"), [request("a", prompts[name], sampling)], Way())
        text = whole.tokens["a.0"]
        assert 20 < len(text) <= 24
        for known in (1, 9, 19):
            moved = request("a", prompts[name], sampling, output=text[:known])
            rest = await generate(worker("llama"), [moved], Way())
            assert rest.tokens["a.0"] == text[known:]
