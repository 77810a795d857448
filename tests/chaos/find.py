"""Makes `cases.json`: python -m tests.chaos.find

Generates candidates with the production worker, scores every draw again in one pass of transformers' float32 model, and
keeps those in which no draw is a close call. It also checks the draw itself: the best score must be the token's.
"""

import argparse
import asyncio
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from services.engine.config import EngineConfig
from services.engine.worker.opening import open_worker
from shared import tokenizer
from shared.types import SamplingParams, TokenIds
from tests.chaos.cases import CLOSEST, Case, save
from tests.checkpoints import ROOT
from tests.noise import gumbel, row_keys, token_counters
from tests.truth.driver import Way, generate, request
from tools.demo_model.stories import HEROES, NATURES

DEMO = ROOT / "models" / "demo"
SHORTEST, LONGEST = 176, 320  # tokens of an answer
GRAM = 8  # tokens; an answer that says the same ones again and again would hide a loss


@dataclass(frozen=True, slots=True)
class Candidate:
    text: str
    prompt: TokenIds
    sampling: SamplingParams


def candidates(dice: Random, count: int) -> list[Candidate]:
    """Openings of stories and of other texts, half of them greedy."""
    reader = tokenizer.load(DEMO)
    found: dict[str, Candidate] = {}
    while len(found) < count:
        greedy = len(found) % 2 == 0
        hero, other = dice.choice(HEROES), dice.choice(HEROES)
        text = f"Once upon a time there was a {dice.choice(NATURES)} {hero} who met a {other}"
        sampling = SamplingParams(
            max_tokens=dice.randint(SHORTEST, LONGEST),
            temperature=0.0 if greedy else dice.choice((0.7, 1.0)),
            seed=0 if greedy else dice.randrange(1 << 40),
        )
        found.setdefault(text, Candidate(text, tuple(reader.encode(text)), sampling))
    return list(found.values())


async def answers(asked: list[Candidate]) -> list[TokenIds]:
    worker = open_worker(EngineConfig(device="cpu", dtype="float32", threads=1, kv_blocks=1024), DEMO)
    try:
        requests = [request(str(i), one.prompt, one.sampling) for i, one in enumerate(asked)]
        outcome = await generate(worker, requests, Way())
    finally:
        worker.close()
    return [outcome.tokens[f"{i}.0"] for i in range(len(asked))]


@torch.inference_mode()
def gap(model: torch.nn.Module, one: Candidate, answer: TokenIds) -> float:
    """The smallest distance between the two best scores. Raises AssertionError if a token is not its draw's best."""
    ids = torch.tensor([one.prompt + answer])
    logits: Tensor = model(input_ids=ids).logits[0, len(one.prompt) - 1 : -1]
    if one.sampling.temperature:
        positions = torch.arange(len(one.prompt), ids.shape[1], dtype=torch.int32)
        low, high = (torch.full_like(positions, half) for half in halves(one.sampling.seed))
        noise = gumbel(row_keys(low, high, positions), token_counters(logits.shape[1], logits.device))
        logits = logits / one.sampling.temperature + noise
    best = logits.topk(2)
    distance = best.values[:, 0] - best.values[:, 1]
    wrong = best.indices[:, 0] != torch.tensor(answer)
    assert float(distance.masked_fill(~wrong, 0.0).max()) < CLOSEST, f"{one.text!r}: not the best token"
    return float(distance.min())


def halves(seed: int) -> tuple[int, int]:
    """A seed's two 32-bit halves, as signed numbers."""
    low, high = seed & 0xFFFFFFFF, seed >> 32
    return low - (1 << 32 if low >> 31 else 0), high


def varied(answer: TokenIds) -> bool:
    """Does it say something new most of the time?"""
    grams = [answer[i : i + GRAM] for i in range(len(answer) - GRAM)]
    return len(set(grams)) > 0.8 * len(grams)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.find", description=__doc__)
    parser.add_argument("--count", type=int, default=32, help="how many requests to keep")
    parser.add_argument("--candidates", type=int, default=400, help="how many to try")
    parser.add_argument("--seed", type=int, default=4, help="of the dice that choose prompts and seeds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    asked = candidates(Random(args.seed), args.candidates)
    told = asyncio.run(answers(asked))
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).eval()
    kept: dict[bool, list[Case]] = {True: [], False: []}
    for one, answer in zip(asked, told, strict=True):
        least, of = gap(model, one, answer), one.sampling
        if least > CLOSEST and varied(answer):
            case = Case(prompt=one.text, temperature=of.temperature, seed=of.seed, tokens=of.max_tokens, gap=least)
            kept[of.temperature == 0].append(case)
    half = args.count // 2
    print(f"of {len(asked)} candidates {len(kept[True])} greedy and {len(kept[False])} seeded ones will do")
    if min(map(len, kept.values())) < half:
        raise SystemExit("too few: raise --candidates")
    save([case for pair in zip(kept[True][:half], kept[False][:half], strict=True) for case in pair])


if __name__ == "__main__":
    main()
