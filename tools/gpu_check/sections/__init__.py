"""The sections of gpu-check: what each is called, how long it may take, in which parts it runs. No torch here.

A section `x` is the module `x` beside this file, with `run(job)`. Each part runs in a process of its own, so one that
crashes, hangs or breaks the CUDA context takes nothing else with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tools.gpu_check.settings import Settings, ops


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    title: str
    budget_s: float
    parts: Callable[[Settings], tuple[str, ...]] = lambda settings: ("",)
    at_once: int = 1
    interpreted: bool = False  # on a CPU its kernels run in Triton's interpreter


def _models(settings: Settings) -> tuple[str, ...]:
    return settings.models


def _first_model(settings: Settings) -> tuple[str, ...]:
    return settings.models[:1]


SECTIONS = (
    Section("environment", "The card and what it can do", 25),
    Section("accuracy", "Kernels against float64", 60, ops, at_once=8, interpreted=True),
    Section("speed", "What the kernels reach", 45, interpreted=True),
    Section("greedy", "Greedy tokens against transformers", 80),
    Section(
        "graphs", "Graphs against eager", 50, lambda settings: ("qwen3",) if settings.dry else ("qwen3", "mistral")
    ),
    Section("offline", "The 256-request workload, offline", 180, _models),
    Section("peer", "transformers' continuous batching", 50, _first_model),
    Section("service", "The same through the whole service set", 200, _models),  # takes what the others left
)
TOTAL_S = 470.0  # of all sections together: whoever comes last has what the others left
