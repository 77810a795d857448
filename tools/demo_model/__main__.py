"""`python -m tools.demo_model --out models/demo`: writes the corpus, trains tokenizer and model, exports, evaluates."""

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import torch

from tools.demo_model import corpus, evaluate, tokenizer, train
from tools.demo_model.document import END_OF_TEXT, TURN_END

TOKENIZER_DOCUMENTS = 40_000


def main() -> None:
    """Parses the command line and does all of it, with lines of progress on standard output."""
    recipe = train.Recipe()
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, replaced at the end")
    parser.add_argument("--steps", type=int, help="at most so many steps in each phase, for a trial (default: all)")
    parser.add_argument("--seed", type=int, default=recipe.seed, help="of corpus and weights (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--evaluate-only", action="store_true", help="only evaluate the checkpoint that is in --out")
    options = parser.parse_args()
    phases = recipe.phases if options.steps is None else tuple(_cut(phase, options.steps) for phase in recipe.phases)
    recipe = replace(recipe, seed=options.seed, phases=phases)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    if not options.evaluate_only:
        _make(options.out, recipe)
    if faults := _judge(options.out, recipe):
        raise SystemExit("\n".join(faults))


def _make(out: Path, recipe: train.Recipe) -> None:
    """Trains and exports; `out` is replaced only when all files are written, and keeps its README."""
    _say(f"tokenizer: {tokenizer.VOCABULARY} entries from {TOKENIZER_DOCUMENTS} documents")
    trained_tokenizer = tokenizer.train(_texts(recipe.seed))
    outcome = train.train(trained_tokenizer, recipe, _say)
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    model = outcome.model.to(torch.bfloat16)
    eos = [trained_tokenizer.token_to_id(token) for token in (TURN_END, END_OF_TEXT)]
    model.save_pretrained(fresh)
    defaults = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "eos_token_id": eos, "pad_token_id": eos[1]}
    (fresh / "generation_config.json").write_text(json.dumps(defaults, indent=2) + "\n", "utf-8")
    tokenizer.save(trained_tokenizer, fresh)
    measured = {"tokens": outcome.tokens, "seconds": round(outcome.seconds), "loss": round(outcome.loss, 4)}
    (fresh / "training.json").write_text(json.dumps(asdict(recipe) | measured, indent=2) + "\n", "utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(fresh.iterdir()):
        path.chmod(0o644)
        path.replace(out / path.name)
    fresh.rmdir()
    _say(f"exported to {out}: {measured}")


def _cut(phase: train.Phase, steps: int) -> train.Phase:
    return replace(phase, steps=min(steps, phase.steps))


def _judge(out: Path, recipe: train.Recipe) -> list[str]:
    """Prints the scores; returns what is wrong with the ten questions."""
    model, its_tokenizer = evaluate.load(out)
    for score in evaluate.scores(model, its_tokenizer, recipe.seed):
        _say(str(score))
    faults = evaluate.ten(model, its_tokenizer, recipe)
    _say(f"ten questions: {len(faults)} faults")
    return faults


def _texts(seed: int) -> Iterator[str]:
    yield from (document.text() for document in islice(corpus.documents(seed), TOKENIZER_DOCUMENTS))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
