"""Training from scratch: batches of whole documents, AdamW under a cosine schedule, bfloat16 matmuls, float32 weights.

Deterministic for a recipe, a number of threads and a kind of CPU. Documents are padded on the right and never packed,
so each is seen as it will be asked: alone, from position 0. Rotary positions are relative: no offset needs training.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

from tools.demo_model import corpus
from tools.demo_model.document import END_OF_TEXT, TURN_END
from tools.demo_model.tokenizer import MAX_LENGTH, VOCABULARY, encode

Example = tuple[list[int], list[bool]]
WINDOW = 640  # documents sorted by length together, so that a batch has little padding
LONGEST = 1024  # tokens; longer chats are left out


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with its own optimizer, schedule and documents."""

    seed: int
    steps: int
    peak_rate: float
    warmup: int
    mix: corpus.Mix


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the outcome: first sentence forms and facts, then questions as people put them."""

    seed: int = 0
    batch_tokens: int = 4096  # padded tokens in a batch
    weight_decay: float = 0.05
    phases: tuple[Phase, ...] = (
        Phase(seed=0, steps=1800, peak_rate=2.5e-3, warmup=80, mix=corpus.Mix()),
        Phase(seed=1, steps=500, peak_rate=1.2e-3, warmup=20, mix=corpus.Mix(by_hand=0.6, loosened=0.35)),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The trained model (float32, evaluation mode) and what it took."""

    model: Qwen3ForCausalLM
    tokens: int
    loss: float  # mean over the last hundredth of the last phase, nats per learned token
    seconds: float


def config(tokenizer: Tokenizer) -> Qwen3Config:
    """5.5 M parameters: six layers of width 256."""
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(TURN_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        use_cache=True,
    )


def train(tokenizer: Tokenizer, recipe: Recipe, report: Callable[[str], None]) -> Outcome:
    """Trains a fresh model through all phases; `report` gets a line of progress now and then."""
    torch.manual_seed(recipe.seed)
    outcome = Outcome(Qwen3ForCausalLM(config(tokenizer)), 0, math.inf, 0.0)
    for number, phase in enumerate(recipe.phases, 1):
        report(f"phase {number} of {len(recipe.phases)}")
        after = run_phase(outcome.model, tokenizer, recipe, phase, report)
        outcome = replace(after, tokens=outcome.tokens + after.tokens, seconds=outcome.seconds + after.seconds)
    return outcome


def run_phase(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, recipe: Recipe, phase: Phase, report: Callable[[str], None]
) -> Outcome:
    """Trains the model further; its weights end rounded to bfloat16, as they are exported."""
    model.train()
    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=phase.peak_rate, betas=(0.9, 0.95))
    started, seen, losses = time.monotonic(), 0, list[float]()
    for step, (ids, targets) in enumerate(islice(_batches(tokenizer, recipe, phase), phase.steps)):
        for group in optimizer.param_groups:
            group["lr"] = phase.peak_rate * _schedule(step, phase)
        loss = _loss(model, ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += ids.numel()
        losses.append(loss.item())
        if step % 20 == 0 or step + 1 == phase.steps:
            recent, took = losses[-20:], time.monotonic() - started
            mean = sum(recent) / len(recent)
            report(f"step {step + 1}/{phase.steps}  loss {mean:.4f}  {seen / took:.0f} tokens/s  {took:.0f} s")
    tail = losses[-max(1, phase.steps // 100) :]
    rounded = model.to(torch.bfloat16).to(torch.float32).eval()
    return Outcome(rounded, seen, sum(tail) / len(tail), time.monotonic() - started)


def _groups(model: Qwen3ForCausalLM, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, norms do not."""
    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    vectors = [weight for weight in model.parameters() if weight.dim() < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _schedule(step: int, phase: Phase) -> float:
    """Share of the peak rate: a linear warm-up, then half a cosine down to zero."""
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - phase.warmup) / max(1, phase.steps - phase.warmup)))


def _loss(model: Qwen3ForCausalLM, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy, in nats, over the positions whose target is not -100; ids and targets are [B, T]."""
    with torch.autocast("cpu", torch.bfloat16):
        # Padding is on the right and attention is causal, so no mask is needed.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state  # [B, T, H]
        learned = targets != -100
        logits = model.lm_head(hidden[learned])  # [learned, V]
    return functional.cross_entropy(logits.float(), targets[learned])


def _batches(tokenizer: Tokenizer, recipe: Recipe, phase: Phase) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (ids, targets) pairs, both [B, T] with B * T near `batch_tokens`."""
    seed = recipe.seed + phase.seed
    dice = Random(seed)
    pad = tokenizer.token_to_id(END_OF_TEXT) or 0
    examples = (encode(tokenizer, document) for document in corpus.documents(seed, phase.mix))
    short_enough = (example for example in examples if len(example[0]) <= LONGEST)
    while True:
        window = sorted(islice(short_enough, WINDOW), key=lambda example: len(example[0]))
        batches: list[list[Example]] = [[]]
        for example in window:
            if batches[-1] and len(example[0]) * (len(batches[-1]) + 1) > recipe.batch_tokens:
                batches.append([])
            batches[-1].append(example)
        dice.shuffle(batches)
        yield from (_padded(batch, pad) for batch in batches)


def _padded(batch: list[Example], pad: int) -> tuple[Tensor, Tensor]:
    """Inputs and the targets one to their right; -100 where nothing is learned."""
    longest = max(len(ids) for ids, _ in batch) - 1
    inputs = torch.full((len(batch), longest), pad)
    targets = torch.full((len(batch), longest), -100)
    for row, (ids, learned) in enumerate(batch):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.where(torch.tensor(learned[1:]), torch.tensor(ids[1:]), -100)
    return inputs, targets
