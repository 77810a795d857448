"""Rows with a grammar on devices of every temper: their draws wait for the step before, and nobody else's do.

A fault ends its own request.
"""

import json
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.engine.config import EngineConfig
from services.engine.core.events import Submit
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker import grammars as grammars_module
from services.engine.worker import masks
from services.engine.worker.grammars import GrammarError, Grammars
from services.engine.worker.opening import open_worker
from services.engine.worker.pack import Packed, Packer, carve
from services.engine.worker.worker import Worker
from shared.grammars import MAX_GRAMMAR_BYTES
from shared.types import FinishReason, SamplingParams
from tests.late_device import LateDevice
from tests.truth.driver import Way, generate, request

CONFIG = EngineConfig(device="cpu", dtype="float32", max_num_seqs=64, kv_blocks=256, max_model_len=256, threads=1)
WAYS = (Way(budget=64, blocks=24), Way(budget=256, overlap=False), Way(budget=64, blocks=20, stateless=True))
STOPS = (1, 0)


def lark(text: str) -> str:
    return json.dumps({"grammars": [{"lark_grammar": text}]})


WORDS = lark("start: /([a-z]{1,4} ){3,5}end/")
DIGITS = lark("start: /[0-9]{5,9}/")
BOMB = lark("start: /(a?){500}a{500}/")  # its second mask costs more than one may


def asked(name: str, grammar: str, **more: Any) -> Submit:
    usual: dict[str, Any] = {"max_tokens": 60, "seed": len(name), "stop_ids": STOPS, "grammar": grammar}
    return request(name, tuple(range(5, 9 + len(name))), SamplingParams(**(usual | more)))


def requests() -> list[Submit]:
    kinds: list[dict[str, Any]] = [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 1.3, "top_k": 8}]
    free: dict[str, Any] = {"max_tokens": 20}
    return [
        asked(f"{'x' * k}{name}", grammar, **(kinds[k % 3] | ({} if grammar else free)))
        for k in range(6)
        for name, grammar in (("words", WORDS), ("digits", DIGITS), ("free", ""))
    ]


@pytest.fixture(scope="module")
def never_late(qwen3: Path) -> Iterator[Worker]:
    worker = open_worker(CONFIG, qwen3)
    yield worker
    worker.close()


@pytest.mark.parametrize("temper", ("", "main", "copies"))
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_late_device_changes_no_token(never_late: Worker, qwen3: Path, way: Way, temper: str) -> None:
    """Preempted, chunked, stateless: the masks are those of the ids that the device drew, whenever it draws them."""
    expected = await generate(never_late, requests(), way)
    assert {end.finish for id, end in expected.ends.items() if "free" not in id} == {FinishReason.STOP}
    worker = open_worker(CONFIG, qwen3, device=LateDevice(eager=temper))
    try:
        assert (await generate(worker, requests(), way)).tokens == expected.tokens
    finally:
        worker.close()


@pytest.mark.parametrize(
    "grammar, output, why",
    [
        ("{", (), "cannot be used"),
        (lark('start: "a" b'), (), "cannot be used"),
        ("x" * (MAX_GRAMMAR_BYTES + 1), (), "too large"),
        (DIGITS, (300, 301), "left its grammar"),
        (BOMB, (), "too complex"),
    ],
    ids=["no grammar", "a broken one", "too large", "an output that it does not allow", "too complex as it goes on"],
)
async def test_a_fault_ends_its_own_request_and_no_other(
    never_late: Worker, grammar: str, output: tuple[int, ...], why: str
) -> None:
    """The bus is open: what reaches a row was not checked by anybody. The others draw what they always draw."""
    bad = asked("bad", grammar)
    bad = request("bad", bad.prompt, bad.sampling, output)
    alone = await generate(never_late, requests(), Way())
    outcome = await generate(never_late, [bad, *requests()], Way())
    end = outcome.ends.pop("bad.0")
    assert end.finish is FinishReason.ERROR and why in end.detail
    assert len(outcome.tokens.pop("bad.0")) <= 1
    assert outcome.tokens == alone.tokens and outcome.ends == alone.ends


async def test_a_rule_for_each_few_bytes_does_not_overflow_any_stack(never_late: Worker) -> None:
    """The library recurses along rules: as many as fit the bound are followed, in a deep enough thread."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [a + b + c for a, b, c in product(letters, repeat=3)][:7000]
    chain = "start:" + names[0] + "\n" + "\n".join(f"{a}:{b}" for a, b in pairwise(names))
    grammar = lark(f'{chain}\n{names[-1]}:"deep"')
    assert 60_000 < len(grammar) < MAX_GRAMMAR_BYTES
    assert await never_late.prepare(grammar) == ""
    outcome = await generate(never_late, [asked("deep", grammar)], Way())
    assert outcome.ends["deep.0"].finish is FinishReason.STOP


async def test_preparing_says_what_is_wrong_and_no_step_waits_for_it(never_late: Worker) -> None:
    assert await never_late.prepare(WORDS) == ""
    assert "cannot be used" in await never_late.prepare(lark("start: /(/"))


def test_few_compiled_grammars_are_kept_and_those_that_failed_are_not(
    qwen3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by bytes, the least recently used go first; a copy's fault takes the one it was copied from."""
    compiled: list[str] = []
    kept = Grammars(qwen3, 1024)
    compile_one = kept._compile

    def noted(grammar: str) -> Any:
        compiled.append(grammar)
        return compile_one(grammar)

    monkeypatch.setattr(kept, "_compile", noted)
    several = [lark(f'start: "{number}"') for number in range(grammars_module.KEPT + 1)]
    for one in (*several[:-1], several[0], several[-1], several[0], several[1]):
        kept.matcher(one)
    assert compiled == [*several, several[1]]
    kept.forget(several[0])
    kept.matcher(several[0])
    assert compiled[-1] == several[0] and len(kept._kept) == grammars_module.KEPT
    assert kept._bytes == sum(map(len, kept._kept))
    with pytest.raises(GrammarError):
        kept.matcher("{")
    assert "{" not in kept._kept


def test_a_model_without_an_end_of_text_has_no_grammars(tmp_path: Path, qwen3: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_bytes((qwen3 / "tokenizer.json").read_bytes())
    assert "ends a text" in Grammars(tmp_path, 1024).check(WORDS)


# ---- what other steps notice of it: nothing


def plan(step: int, grammar: str = "", added: bool = True) -> StepPlan:
    sampling = SamplingParams(max_tokens=5, grammar=grammar)
    adds = tuple(RowAdd(row, (1, 2, 3), 3, (row,), sampling) for row in range(3))
    work = tuple(RowWork(row, 2 if added else 3, 1, True) for row in range(3))
    return StepPlan(step, (), adds if added else (), (), work)


def test_a_step_without_such_rows_has_the_bytes_it_always_had() -> None:
    """A mask costs its row four bytes in the block, and other blocks nothing, not even in their header."""
    plain, bound = Packer(4, 100), Packer(4, 100)
    for step in (1, 2):
        one, other = (p.pack(plan(step, g, step == 1)) for p, g in ((plain, ""), (bound, WORDS)))
        assert one.masked == 0 and one.constrained is None
        assert other.masked == 3 and other.constrained is not None
        assert np.array_equal(other.buffer[: len(one.buffer)], one.buffer)
        assert (
            other.buffer[len(one.buffer) :].tolist() == carve(other.buffer, other.header).masked.tolist() == [0, 1, 2]
        )
        assert (Packed.of(other.buffer).masked, Packed.of(one.buffer).masked) == (3, 0)
        assert sum(map(len, carve(one.buffer, one.header))) + len(one.header) == len(one.buffer)


async def test_no_step_without_such_rows_asks_for_masks(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the very first step of a scheduler does, whose rows are all new."""
    began: list[int] = []
    begin = masks.Matchers.begin

    def noted(self: masks.Matchers, packed: Packed) -> Any:
        began.append(packed.header.step)
        return begin(self, packed)

    monkeypatch.setattr(masks.Matchers, "begin", noted)
    worker = open_worker(CONFIG, qwen3)
    try:
        began.clear()
        await generate(worker, [one for one in requests() if not one.sampling.grammar], Way(budget=64))
        assert began == [0]
    finally:
        worker.close()


def test_a_result_is_made_once_for_all_who_ask() -> None:
    results = iter([7])
    once = masks.Once(lambda: next(results))
    assert [once(), once()] == [7, 7]
