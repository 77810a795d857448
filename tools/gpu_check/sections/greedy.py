"""Greedy tokens of the engine on the card against transformers, token by token, for each architecture.

Tiny checkpoints with loud random weights, in float32 without TF32; all prompts are in flight together here, one at a
time there, with transformers' plain attention.
"""

from collections.abc import Sequence
from random import Random

import torch
from transformers import AutoModelForCausalLM

from shared.types import SamplingParams, TokenIds
from tools.checkpoints import VOCABULARY, build
from tools.gpu_check.engine import open_engine, submits
from tools.gpu_check.engine import run as generate
from tools.gpu_check.job import Failed, Job

KINDS, DRY_KINDS = ("qwen3", "llama", "llama-biased", "mistral", "qwen2"), ("qwen3",)
LENGTHS, DRY_LENGTHS = (1, 2, 15, 16, 17, 33, 64, 65, 100, 129, 200, 255, 256, 300, 511, 512, 600, 700), (1, 17, 40)
TOKENS, DRY_TOKENS = 24, 4


def run(job: Job) -> None:
    dry = job.settings.dry
    tokens = DRY_TOKENS if dry else TOKENS
    wrong = []
    for kind in DRY_KINDS if dry else KINDS:
        folder = build(kind, job.folder / kind)
        asks = prompts(DRY_LENGTHS if dry else LENGTHS)
        worker = open_engine(folder, job.card.kind, dtype="float32", max_num_seqs=len(asks), max_model_len=1024)
        try:
            done = generate(worker, submits((p, SamplingParams(max_tokens=tokens, temperature=0)) for p in asks))
        finally:
            worker.close()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        model = model.to(job.card.device).eval()
        same = sum(done.of(f"{n}.0") == continued(model, prompt, tokens) for n, prompt in enumerate(asks))
        job.row(kind, {"prompts": len(asks), "tokens of each": tokens, "equal": same})
        job.say(f"{kind}: {same} of {len(asks)} answers are equal")
        if same < len(asks):
            wrong.append(kind)
    if wrong:
        raise Failed(f"not the tokens of transformers: {', '.join(wrong)}")


def prompts(lengths: Sequence[int]) -> tuple[TokenIds, ...]:
    dice = Random(2)
    return tuple(tuple(dice.randrange(VOCABULARY) for _ in range(length)) for length in lengths)


@torch.inference_mode()
def continued(model: torch.nn.Module, prompt: TokenIds, tokens: int) -> TokenIds:
    """With the cache of transformers; nothing ends it early. The ids are read back once."""
    device = next(model.parameters()).device
    ids, past, drawn = torch.tensor([prompt], device=device), None, []
    for _ in range(tokens):
        step = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, ids = step.past_key_values, step.logits[:, -1:].argmax(-1)
        drawn.append(ids)
    told: list[int] = torch.cat(drawn, dim=1)[0].tolist()
    return tuple(told)
