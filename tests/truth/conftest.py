"""Checkpoints, workers and what transformers says, each made once in a session."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

from services.engine.config import EngineConfig
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from shared import tokenizer
from shared.types import TokenIds
from tests.checkpoints import ROOT, VOCABULARY, build
from tests.truth.driver import BLOCK, ROWS

DEMO = ROOT / "models" / "demo"
SHORT = 130  # tokens; shorter prompts get long answers, so rows outgrow a small pool while they run
LENGTHS = sorted({1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 255, 256, 300, 448, 512, 699, 700})
SHARED = 200  # tokens that every fourth prompt begins with

Reference = Callable[[str], tuple[tuple[TokenIds, ...], tuple[TokenIds, ...]]]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Of torch, for the reference: two that share a core with somebody else wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a checkpoint: a kind of tests.checkpoints, or "demo"."""

    @cache
    def made(kind: str) -> Path:
        if kind != "demo":
            return build(kind, tmp_path_factory.mktemp(kind))
        if not (DEMO / "model.safetensors").is_file():
            pytest.skip("models/demo is not there")
        return DEMO

    return made


CONFIG = EngineConfig(
    device="cpu",
    dtype="float32",
    max_num_seqs=ROWS,
    block_size=BLOCK,
    kv_blocks=48 * ROWS,
    max_model_len=1024,
    threads=1,
)


@pytest.fixture(scope="session")
def worker(folder: Callable[[str], Path]) -> Iterator[Callable[..., Worker]]:
    """A worker with ROWS rows and memory for all of them, on this kind of checkpoint."""
    opened: list[Worker] = []

    @cache
    def made(kind: str) -> Worker:
        opened.append(open_worker(CONFIG, folder(kind)))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def reference(folder: Callable[[str], Path]) -> Reference:
    """ROWS prompts of 1 to 700 tokens, shortest first, and what transformers continues each with, one at a time.

    In float32, greedy, `answer_length` tokens.
    """

    @cache
    def made(kind: str) -> tuple[tuple[TokenIds, ...], tuple[TokenIds, ...]]:
        if kind == "sharded":
            return made("qwen3")  # the same weights
        where = folder(kind)
        prompts = _prompts(where if kind == "demo" else None)
        model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
        return prompts, tuple(_continue(model, prompt) for prompt in prompts)

    return made


def answer_length(prompt: TokenIds) -> int:
    return 64 if len(prompt) <= SHORT else 16


def _prompts(text_of: Path | None) -> tuple[TokenIds, ...]:
    """Random ids for a random model; the repository's own texts for one that has learned to read."""
    dice = Random(2)
    lengths = LENGTHS + [dice.randint(1, 700) for _ in range(ROWS - len(LENGTHS))]
    lengths.sort()
    if text_of is None:
        return tuple(_mixed([dice.randrange(VOCABULARY) for _ in range(n)], n, k) for k, n in enumerate(lengths))
    text = "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob("*.md")))
    ids: list[int] = tokenizer.load(text_of).encode(text)
    starts = [dice.randrange(len(ids) - n) for n in lengths]
    return tuple(_mixed(ids[at : at + n], n, k) for k, (at, n) in enumerate(zip(starts, lengths, strict=True)))


def _mixed(ids: list[int], length: int, index: int) -> TokenIds:
    """Every fourth long prompt begins like the others of its kind."""
    shared = [(7 * n + 3) % VOCABULARY for n in range(SHARED)]
    return tuple((shared + ids)[:length]) if index % 4 == 0 and length > SHARED else tuple(ids)


@torch.inference_mode()
def _continue(model: torch.nn.Module, prompt: TokenIds) -> TokenIds:
    """With the cache of transformers; nothing ends it early."""
    ids, past, out = torch.tensor([prompt]), None, []
    for _ in range(answer_length(prompt)):
        step = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, ids = step.past_key_values, step.logits[:, -1:].argmax(-1)
        out.append(int(ids))
    return tuple(out)
