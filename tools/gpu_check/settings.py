"""What a run of gpu-check was told, as it travels to the process of each section. No torch here."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("qwen3-0.6b", "llama-3-8b", "qwen3-14b")  # the one that takes longest last: it gets the time the others left
DRY_MODELS = ("tiny",)
REQUESTS, DRY_REQUESTS = 256, 6
DRY_OPS = ("rms_norm", "draw")  # enough for every branch: numbers of both kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    dry: bool = False  # tiny sizes on a CPU
    models: tuple[str, ...] = MODELS
    requests: int = REQUESTS
    detokenizers: int = 1
    gateways: int = 1
    clients: int = 1  # processes that make the load

    @classmethod
    def for_this_machine(cls, *, dry: bool) -> "Settings":
        """A process for each four cores, of each kind that has to keep up with the engine."""
        share = 1 if dry else max(1, min(4, (os.cpu_count() or 1) // 4))
        settings = cls(dry=dry, gateways=share, detokenizers=share, clients=share)
        return replace(settings, models=DRY_MODELS, requests=DRY_REQUESTS) if dry else settings

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Settings":
        fields = json.loads(text)
        return cls(**fields | {"models": tuple(fields["models"])})


def ops(settings: Settings) -> tuple[str, ...]:
    """The kernels' folders that have configurations."""
    found = sorted(path.parent.name for path in ROOT.glob("kernels/*/cases.py"))
    return tuple(op for op in found if not settings.dry or op in DRY_OPS)
