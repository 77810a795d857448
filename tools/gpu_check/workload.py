"""The offline workload of "256 sequences": the same prompts and lengths as the benchmarks of mini-sglang and nano-vllm.

Python's `random` with seed 0; all prompts are drawn before all lengths. 256 requests are 142,827 tokens in and 133,966
out, all known at the start; nothing ends an answer early. No torch here: the processes that make load draw it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

SHORTEST, LONGEST = 100, 1024  # tokens of a prompt, and of an answer
DRY_SHORTEST, DRY_LONGEST = 4, 24
IDS = 10_000  # prompts are drawn from 0 .. 10,000
TEMPERATURE = 0.6


@dataclass(frozen=True, slots=True)
class Ask:
    prompt: tuple[int, ...]
    tokens: int  # of the answer

    @property
    def length(self) -> int:
        return len(self.prompt) + self.tokens


def workload(requests: int, *, dry: bool = False, seed: int = 0, ids: int = IDS) -> tuple[Ask, ...]:
    """`ids` is the largest id, for models that have fewer."""
    dice = Random(seed)
    shortest, longest = (DRY_SHORTEST, DRY_LONGEST) if dry else (SHORTEST, LONGEST)
    prompts = [tuple(dice.randint(0, ids) for _ in range(dice.randint(shortest, longest))) for _ in range(requests)]
    return tuple(Ask(prompt, dice.randint(shortest, longest)) for prompt in prompts)


def tokens_out(asks: Sequence[Ask]) -> int:
    return sum(ask.tokens for ask in asks)
