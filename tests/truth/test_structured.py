"""Structured output from a model without any sense: what a grammar says holds for every text there is.

The weights are random, so at temperature 1 the model writes whatever it is allowed to, and greedily the most stubborn
of it. Everything runs in one engine, in batches with neighbours that may write what they like.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import llguidance.hf
import orjson
import pytest
import torch
from transformers import AutoModelForCausalLM

from services.engine.config import EngineConfig
from services.engine.core.events import Submit
from services.engine.worker.opening import open_worker
from services.engine.worker.worker import Worker
from services.gateway.grammar import choice_grammar, lark_grammar, regex_grammar, schema_grammar
from shared import tokenizer
from shared.types import FinishReason, SamplingParams, TokenIds
from tests.checkpoints import VOCABULARY
from tests.schemas import FEW_BLANKS, schema
from tests.truth.driver import BLOCK, Outcome, Way, generate, request

SCHEMAS = 200
AMPLE, TIGHT = Way(budget=1024), Way(budget=96, blocks=70)
STOPS = (1, 0)  # the checkpoint's ends of text


@pytest.fixture(scope="module")
def engine(folder: Callable[[str], Path]) -> Iterator[Worker]:
    config = EngineConfig(
        device="cpu", dtype="float32", max_num_seqs=64, block_size=BLOCK, kv_blocks=2000, max_model_len=1024, threads=1
    )
    worker = open_worker(config, folder("qwen3"))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def read(folder: Callable[[str], Path]) -> Callable[[TokenIds], str]:
    backend = tokenizer.load(folder("qwen3")).backend_tokenizer
    return lambda ids: str(backend.decode(list(ids), skip_special_tokens=True))


def asked(name: str, grammar: str, temperature: float, seed: int = 0, **more: Any) -> Submit:
    prompt = tuple(Random(seed).randrange(2, VOCABULARY) for _ in range(4 + seed % 9))
    usual: dict[str, Any] = {
        "max_tokens": 1000,
        "temperature": temperature,
        "seed": seed,
        "stop_ids": STOPS,
        "grammar": grammar,
    }
    return request(name, prompt, SamplingParams(**(usual | more)))


def ended(outcome: Outcome, name: str) -> TokenIds:
    """What it wrote before it ended by itself."""
    assert outcome.ends[f"{name}.0"].finish is FinishReason.STOP, outcome.ends[f"{name}.0"]
    ids = outcome.tokens[f"{name}.0"]
    assert ids[-1] in STOPS
    return ids[:-1]


async def test_two_hundred_schemas_are_kept_to_greedily_and_by_the_dice(
    engine: Worker, read: Callable[[TokenIds], str]
) -> None:
    """Every text validates; none is left out, none is cut off."""
    schemas = [schema(seed) for seed in range(SCHEMAS)]
    grammars = [schema_grammar(one, "response_format") for one in schemas]
    requests = [asked(f"{t}-{k}", one, t, k) for t in (0.0, 1.0) for k, one in enumerate(grammars)]
    outcome = await generate(engine, requests, AMPLE)
    for one in requests:
        text = read(ended(outcome, one.parent_id))
        wanted = schemas[int(one.parent_id.split("-")[1])]
        jsonschema.validate(orjson.loads(text), wanted, cls=jsonschema.Draft202012Validator)
    texts = {read(ids) for ids in outcome.tokens.values()}
    assert len(texts) > SCHEMAS, "the dice were not thrown"


TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer", "minimum": 0, "maximum": 9},
                "next": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "x-guidance": FEW_BLANKS,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_expressions_choices_and_grammars_are_kept_to(
    engine: Worker, read: Callable[[TokenIds], str], temperature: float
) -> None:
    """Slashes, quotes, newlines and what is beyond ASCII among them; a grammar that balances brackets."""
    choices = ["yes", "no / maybe", 'say "hé"\n', "🐝🐝", "back\\slash"]
    expressions = [r"[a-f]{2,5}\d?", r"https?://[a-z]{1,8}/(a|b)?", "x\ny{0,2}", r"(?i)ab{1,3}", r"\p{Lu}{1,3}é"]
    balanced = 'start: a\na: "(" b ")"\nb: "[" c "]" | "x"\nc: "(" /[0-9]{1,3}/ ")" | b "," b\n'
    grammars = {
        **{f"c{k}": choice_grammar([one], "structured_outputs") for k, one in enumerate(choices)},
        **{f"r{k}": regex_grammar(one, "structured_outputs") for k, one in enumerate(expressions)},
        "any": choice_grammar(choices, "structured_outputs"),
        "lark": lark_grammar(balanced.replace(' | b "," b', ""), "structured_outputs"),
    }
    requests = [asked(name, grammar, temperature, k) for k, (name, grammar) in enumerate(grammars.items())]
    outcome = await generate(engine, requests, TIGHT)
    texts = {name: read(ended(outcome, name)) for name in grammars}
    assert [texts[f"c{k}"] for k in range(len(choices))] == choices
    assert texts["any"] in choices
    python = [r"[a-f]{2,5}\d?", r"https?://[a-z]{1,8}/(a|b)?", "x\ny{0,2}", r"(?i)ab{1,3}", r"[^\W\d_a-z]{1,3}é"]
    assert all(re.fullmatch(one, texts[f"r{k}"]) for k, one in enumerate(python)), texts
    assert re.fullmatch(r"\((\[\(\d{1,3}\)\]|x)\)", texts["lark"]), texts["lark"]


async def test_a_recursive_schema_is_kept_to(engine: Worker, read: Callable[[TokenIds], str]) -> None:
    """However deep the dice go, which know no end: what is cut off by its length is a beginning of such a text."""
    grammar = schema_grammar(TREE, "response_format")
    outcome = await generate(engine, [asked(str(seed), grammar, 1.0, seed) for seed in range(12)], AMPLE)
    depths, whole = set(), 0
    for seed in range(12):
        text = read(outcome.tokens[f"{seed}.0"])
        depths.add(text.count("value"))
        if outcome.ends[f"{seed}.0"].finish is FinishReason.LENGTH:
            assert text.lstrip().startswith("{")
            continue
        jsonschema.validate(orjson.loads(read(ended(outcome, str(seed)))), TREE)
        whole += 1
    assert len(depths) > 1 and whole >= 8


def mixed() -> tuple[list[Submit], list[Submit]]:
    """(requests with a grammar, requests without): greedy, by the dice, with penalties and filters."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 0.8, "top_p": 0.7},
        {"temperature": 1.2, "top_k": 9, "min_p": 0.02},
        {"temperature": 0.0, "presence_penalty": 0.6, "repetition_penalty": 1.2},
    ]
    bound = [
        asked(f"bound-{k}", schema_grammar(schema(k), "response_format"), seed=k, **kinds[k % 5]) for k in range(20)
    ]
    free = [asked(f"free-{k}", "", seed=k, **(kinds[k % 5] | {"max_tokens": 40})) for k in range(20)]
    return bound, free


WAYS = (TIGHT, Way(budget=64, overlap=False), Way(budget=128, blocks=66, stateless=True))


async def test_neighbours_draw_what_they_draw_alone_however_steps_are_made(engine: Worker) -> None:
    """With and without a grammar; preempted, in rows that others had, one step behind another or not."""
    bound, free = mixed()
    alone = (await generate(engine, free, AMPLE)).tokens | (await generate(engine, bound, AMPLE)).tokens
    for way in WAYS:
        outcome = await generate(engine, [one for pair in zip(bound, free, strict=True) for one in pair], way)
        assert outcome.tokens == alone, way
        assert outcome.statistics["preemptions"] > 0 or not way.blocks


async def test_another_engine_goes_on_in_the_middle_of_a_text(engine: Worker, folder: Callable[[str], Path]) -> None:
    """A hand-over replays the output so far: cut anywhere, the whole is the same."""
    bound, _ = mixed()
    whole = (await generate(engine, bound, AMPLE)).tokens
    dice = Random(4)
    cut = [replace(one, output=whole[one.id][: dice.randrange(len(whole[one.id]))]) for one in bound]
    config = EngineConfig(device="cpu", dtype="float32", max_num_seqs=64, kv_blocks=100, max_model_len=1024, threads=1)
    other = open_worker(config, folder("qwen3"))
    try:
        outcome = await generate(other, cut, Way(budget=64, blocks=100))
    finally:
        other.close()
    for one in cut:
        assert one.output + outcome.tokens[one.id] == whole[one.id]


async def test_greedy_under_a_mask_is_what_transformers_draws_under_the_same(
    engine: Worker, folder: Callable[[str], Path]
) -> None:
    """The library's masks, applied bit by bit to transformers' logits of the whole sequence, for six schemas."""
    model = AutoModelForCausalLM.from_pretrained(folder("qwen3"), dtype=torch.float32).eval()
    known = llguidance.hf.from_tokenizer(tokenizer.load(folder("qwen3")), n_vocab=VOCABULARY, eos_token=list(STOPS))
    requests = [asked(str(k), schema_grammar(schema(k), "response_format"), 0.0, k) for k in range(6)]
    outcome = await generate(engine, requests, TIGHT)
    for one in requests:
        matcher, ids = llguidance.LLMatcher(known, one.sampling.grammar), list(one.prompt)
        while len(ids) == len(one.prompt) or ids[-1] not in STOPS:
            mask = matcher.compute_bitmask()
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, -1].tolist()
            allowed = [id for id in range(VOCABULARY) if mask[id // 8] >> id % 8 & 1]
            ids.append(max(allowed, key=logits.__getitem__))
            assert matcher.consume_token(ids[-1])
        assert tuple(ids[len(one.prompt) :]) == outcome.tokens[one.id]
