"""Biases, allowed ids and bad words by their effect on whole answers, and wherever a request goes on."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from services.engine.worker.worker import Worker
from services.gateway.prompt import Encoder
from services.gateway.renderers import Renderers
from shared import tokenizer
from shared.types import SamplingParams
from tests.truth.conftest import Reference
from tests.truth.driver import Way, generate, request

WARM = SamplingParams(max_tokens=12, temperature=1.0)


async def test_only_allowed_ids_are_drawn_and_biases_choose_among_them(
    worker: Callable[[str], Worker], reference: Reference
) -> None:
    """Rows that ask for nothing say beside them what they say alone."""
    prompts, expected = reference("qwen3")
    few = replace(WARM, allowed_ids=tuple(range(100, 130)))
    kinds = {
        "allowed": few,
        "never": replace(few, bias_ids=tuple(range(100, 115)), biases=(-100.0,) * 15),
        "always": replace(few, bias_ids=(129,), biases=(100.0,)),
        "likelier": replace(WARM, temperature=0, bias_ids=(expected[3][0],), biases=(-50.0,)),
        "plain": replace(WARM, temperature=0),
    }
    asked = [request(name, prompts[3], replace(kind, seed=k)) for k, (name, kind) in enumerate(kinds.items())]
    told = (await generate(worker("qwen3"), asked, Way())).tokens
    assert set(told["allowed.0"]) <= set(range(100, 130)) and len(set(told["allowed.0"])) > 3
    assert set(told["never.0"]) <= set(range(115, 130))
    assert set(told["always.0"]) == {129}
    assert expected[3][0] not in told["likelier.0"]
    assert told["plain.0"] == expected[3][:12]


async def test_a_bad_word_never_comes_up_in_two_hundred_answers(
    worker: Callable[[str], Worker], folder: Callable[[str], Path]
) -> None:
    """As the gateway tokenizes it; without the ban it is common."""
    text = tokenizer.load(folder("demo"))
    words = ["was", "there", " and", "Redis"]
    with ThreadPoolExecutor(1) as threads:
        pool = Renderers(10.0)
        banned = await Encoder(text, threads, pool).banned(words)
        await pool.close()
    assert len(banned) > len(words) and max(map(len, banned)) > 1
    prompt = tuple(text.encode("Once upon a time"))

    async def answers(sampling: SamplingParams) -> list[str]:
        asked = [request(str(seed), prompt, replace(sampling, seed=seed)) for seed in range(200)]
        told = await generate(worker("demo"), asked, Way())
        return [text.decode(ids) for ids in told.tokens.values()]

    sampling = replace(WARM, max_tokens=24)
    free, kept = await answers(sampling), await answers(replace(sampling, banned=banned))
    spoken = re.compile("|".join(rf"\b{word.strip()}\b" for word in words))
    assert sum(bool(spoken.search(answer)) for answer in free) > 100
    assert not any(spoken.search(answer) for answer in kept)


async def test_a_request_that_moves_is_steered_as_before(worker: Callable[[str], Worker], reference: Reference) -> None:
    """A banned sequence that began before the move ends behind it."""
    prompts, _ = reference("llama")
    pairs = tuple((a, b) for a in range(40, 46) for b in range(40, 46) if (a + b) % 2)
    sampling = replace(WARM, seed=5, allowed_ids=tuple(range(40, 46)), banned=pairs, bias_ids=(40,), biases=(0.5,))
    text = (await generate(worker("llama"), [request("a", prompts[5], sampling)], Way())).tokens["a.0"]
    assert all((a + b) % 2 == 0 for a, b in pairwise(text))
    for known in (1, 5, 11):
        moved = request("a", prompts[5], sampling, output=text[:known])
        assert (await generate(worker("llama"), [moved], Way())).tokens["a.0"] == text[known:]
