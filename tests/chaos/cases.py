"""What the clients ask: prompts and seeds of which a calm run says that no draw in them is a close call.

A request that moves to another engine is prefilled there in another batch, so its logits differ in the last digits.
Two tokens that are closer than that may change places, which is no loss of ours: so the committed list holds only
requests whose two best scores (with the noise of a seeded draw, if there is one) never come nearer than CLOSEST.
`find.py` made it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

CLOSEST = 1e-3
FILE = Path(__file__).parent / "cases.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request. `gap` is the smallest distance between the two best scores of any of its draws."""

    prompt: str
    temperature: float
    seed: int
    tokens: int
    gap: float

    def body(self, model: str) -> dict[str, Any]:
        """The request to /v1/completions; it runs to its full length, so that it is known."""
        return {
            "model": model,
            "prompt": self.prompt,
            "max_tokens": self.tokens,
            "temperature": self.temperature,
            "top_k": 0,
            "top_p": 1.0,
            "seed": self.seed,
            "ignore_eos": True,
            "stream": True,
        }


def load() -> tuple[Case, ...]:
    return tuple(Case(**row) for row in orjson.loads(FILE.read_bytes()))


def save(cases: list[Case]) -> None:
    rows = b",\n".join(orjson.dumps(asdict(case)) for case in cases)
    FILE.write_bytes(b"[\n" + rows + b"\n]\n")
