"""How good the exported model is: questions in wordings it was never trained on, and the ten of the end-to-end test.

Everything here reads the exported folder through transformers in float32, as any other server would.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3ForCausalLM

from tools.demo_model import corpus, phrasing, unknown
from tools.demo_model.document import TURN_END, Document, chat
from tools.demo_model.tokenizer import encode
from tools.demo_model.train import Recipe

TEN = Path(__file__).parents[2] / "tests" / "e2e" / "demo_questions.json"
AT_MOST = 400  # questions of one kind
BATCH = 64
SEARCHED = 120_000  # documents of each phase looked through for a held-out question; more than training uses
LONGEST_ANSWER = 160  # tokens


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the questions of one kind were answered right."""

    kind: str
    right: int
    asked: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.right}/{self.asked} ({self.right / max(1, self.asked):.1%})"


def load(folder: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """The exported model in float32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def scores(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Score]:
    """One score for each kind of question; of these, only `train` was trained on.

    Right is the corpus's answer, word for word, under greedy decoding; for the last two kinds it is the corpus's answer
    when sampling at temperature 0.7, and saying "I do not know" to a question outside what the model knows.
    """
    dice = Random(seed)
    kinds: dict[str, list[corpus.Question]] = {}
    for question in corpus.questions():
        kinds.setdefault(question.split, []).append(question)
    for kind, asked in kinds.items():
        sample = dice.sample(asked, min(AT_MOST, len(asked)))
        documents = [chat((question.text, question.answer)) for question in sample]
        yield Score(kind, sum(exact(model, tokenizer.backend_tokenizer, documents)), len(sample))
    wording = kinds["wording"]
    bare = [chat((phrasing.normal(question.text), question.answer)) for question in wording]
    yield Score("wording, bare", sum(exact(model, tokenizer.backend_tokenizer, bare)), len(wording))
    torch.manual_seed(seed)
    sampled = [answer(model, tokenizer, question.text, temperature=0.7) == question.answer for question in wording]
    yield Score("wording, sampled", sum(sampled), len(wording))
    outside = unknown.load().held_out
    admitted = ["I do not know" in answer(model, tokenizer, question) for question in outside]
    yield Score("out of scope", sum(admitted), len(outside))


@torch.no_grad()
def exact(model: Qwen3ForCausalLM, tokenizer: Tokenizer, documents: list[Document]) -> list[bool]:
    """For each document: would greedy decoding write just its answers, end token included?

    Decoded by teacher forcing: the answer is what greedy decoding writes if and only if each of its tokens is the most
    likely one after the tokens before it.
    """
    found: list[bool] = []
    for start in range(0, len(documents), BATCH):
        batch = [encode(tokenizer, document) for document in documents[start : start + BATCH]]
        longest = max(len(ids) for ids, _ in batch)
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        best = model(input_ids=padded, use_cache=False).logits.argmax(-1)  # [B, T]
        for row, (ids, learned) in enumerate(batch):
            wanted = torch.tensor(ids[1:])
            found.append(bool((best[row, : len(ids) - 1] == wanted)[torch.tensor(learned[1:])].all()))
    return found


@torch.no_grad()
def answer(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, question: str, temperature: float = 0.0) -> str:
    """The model's answer to one question: greedy, or sampled from torch's global generator."""
    text = chat((question, "")).text().removesuffix(TURN_END)
    prompt = torch.tensor([tokenizer.backend_tokenizer.encode(text).ids])  # [1, T]
    how = {"temperature": temperature, "top_p": 0.95} if temperature else {"temperature": None, "top_p": None}
    output = model.generate(prompt, do_sample=temperature > 0, max_new_tokens=LONGEST_ANSWER, **how)
    return str(tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True))


def ten(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> list[str]:
    """What is wrong with the answers to the questions of `tests/e2e/demo_questions.json`; empty if all are right.

    Each is asked as written and in lower case. A question that claims to be new must not be in the training text.
    """
    entries = json.loads(TEN.read_text("utf-8"))
    faults = []
    for entry in entries:
        for question in (entry["question"], entry["question"].lower()):
            said = answer(model, tokenizer, question)
            if not all(any(part in said.lower() for part in parts) for parts in entry["must_contain_any"]):
                faults.append(f"{question!r} was answered {said!r}")
    new = {phrasing.normal(entry["question"]) for entry in entries if entry["new_wording"]}
    trained = {phrasing.normal(question.text) for question in corpus.questions() if question.split == "train"}
    for phase in recipe.phases:
        for document in islice(corpus.documents(recipe.seed + phase.seed, phase.mix), SEARCHED):
            trained.update(phrasing.normal(question) for question in document.questions())
    return faults + [f"{question!r} is in the training text" for question in sorted(new & trained)]
