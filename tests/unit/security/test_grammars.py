"""Hostile grammars fail their own request, within the limit, and cost nobody else anything (vLLM's CVE-2026-55574)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from services.gateway import checker as checker_module
from services.gateway.checker import Checker, Verdicts, checker
from services.gateway.grammar import choice_grammar, lark_grammar, regex_grammar, schema_grammar
from shared.checkpoint import eos_ids
from shared.errors import ClientError
from tests.unit.gateway.fakes import a_chat, a_world, error_of
from tests.unit.security.test_advisories import SERVICES, imported, trees

NAMES = ["".join(letters) for letters in product("abcdefghijklmnop", repeat=3)]


def chain() -> str:
    """Each rule leads to the next: the library recurses along them."""
    return f"start:{NAMES[0]}\n" + "\n".join(f"{a}:{b}" for a, b in pairwise(NAMES)) + f'\n{NAMES[-1]}:"x"'


def exploding() -> dict[str, Any]:
    return {"allOf": [{"anyOf": [{"type": "string", "pattern": f"^.*{i}{j}"} for j in range(5)]} for i in range(9)]}


def everywhere() -> str:
    return "start: A\nA: " + " & ".join(f"/(.*{chr(97 + i)}.*)+/" for i in range(26))


HOSTILE = {
    "an expression that explodes": regex_grammar("(a?){500}a{500}", "p"),
    "expressions that explode together": lark_grammar(everywhere(), "p"),
    "alternatives that multiply": schema_grammar(exploding(), "p"),
    "a schema that is only itself": schema_grammar({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "p"),
    "a recursion for each few bytes": lark_grammar(chain(), "p"),
    "brackets": lark_grammar("start: " + "(" * 10_000 + '"a"' + ")" * 10_000, "p"),
    "brackets in an expression": regex_grammar("(" * 4000 + "a" + ")" * 4000, "p"),
}


@pytest.fixture
async def grammars(checkpoint: Path) -> AsyncIterator[Checker]:
    async with checker(20.0) as made:
        made.serve(checkpoint, eos_ids(checkpoint) or (0,))
        yield made


@pytest.mark.parametrize("grammar", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_grammar_fails_its_request_only(grammars: Checker, grammar: str) -> None:
    """In less time than it may take; the next one is checked as if nothing had been."""
    began = time.monotonic()
    with pytest.raises(ClientError) as refused:
        await grammars.check(grammar, "response_format")
    assert time.monotonic() - began < 10.0
    assert (refused.value.status, refused.value.param) == (400, "response_format")
    await grammars.check(choice_grammar(["yes", "no"], "p"), "structured_outputs")


async def test_what_is_only_large_is_checked_in_its_time(grammars: Checker) -> None:
    """As many words and properties as fit the bound on bytes; more are refused before (`test_grammar.py`)."""
    began = time.monotonic()
    await grammars.check(schema_grammar({"enum": [f"value{i}" for i in range(4500)]}, "p"), "p")
    await grammars.check(schema_grammar({"properties": {f"p{i}": {"type": "null"} for i in range(500)}}, "p"), "p")
    assert time.monotonic() - began < 10.0


async def test_what_was_found_out_is_not_found_out_again(grammars: Checker) -> None:
    """Neither what is good nor what ended a process: the same bomb again starts nothing."""
    for grammar in (choice_grammar(["a"], "p"), HOSTILE["a recursion for each few bytes"]):
        for _ in range(3):
            with suppress(ClientError):
                await grammars.check(grammar, "p")
    statistics = grammars.statistics()
    assert (statistics["started"], statistics["killed"], statistics["verdicts"]) == (1, 1, 2)


async def test_a_check_that_does_not_end_is_killed_while_others_are_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the library had no limits of its own: here a program that loops for one grammar stands in its place."""
    program = tmp_path / "program.py"
    program.write_text(
        "def opened(**setup):\n    def check(grammar):\n        while 'loop' in grammar: pass\n        return {}\n"
        "    return check\n"
    )
    monkeypatch.setattr(checker_module, "PROGRAM", program)
    async with checker(2.0) as made:
        made.serve(checkpoint, (0,))
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(failure(made, choice_grammar(["loop"], "p")))
            await asyncio.sleep(0)
            for text in "abc":
                await made.check(choice_grammar([text], "p"), "p")
            assert not slow.done()
        assert (slow.result().code, slow.result().status) == ("grammar_timeout", 400)
        assert made.statistics()["killed"] == 1


async def failure(made: Checker, grammar: str) -> ClientError:
    with pytest.raises(ClientError) as refused:
        await made.check(grammar, "p")
    return refused.value


async def test_memory_is_bounded(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program.py"
    program.write_text("def opened(**setup):\n    return lambda grammar: {'size': len(bytearray(2 << 30))}\n")
    monkeypatch.setattr(checker_module, "PROGRAM", program)
    async with checker(20.0) as made:
        made.serve(checkpoint, (0,))
        assert "too much memory" in (await failure(made, choice_grammar(["a"], "p"))).message


async def test_the_gateway_answers_400_and_goes_on(checkpoint: Path) -> None:
    """Over HTTP, with others beside it."""
    async with a_world(checkpoint) as world:

        async def ask(fields: dict[str, Any]) -> tuple[int, str | None]:
            async with world.http.post("/v1/chat/completions", json=a_chat(**fields)) as response:
                return response.status, (await error_of(response))["param"]

        regex = {"structured_outputs": {"regex": "(a?){500}a{500}"}}
        deep = {"structured_outputs": {"grammar": "start: " + "(" * 10_000 + "1" + ")" * 10_000}}
        wide = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": exploding()}}}
        found = await asyncio.gather(*(ask(fields) for fields in (regex, deep, wide)))
        assert found == [(400, "structured_outputs"), (400, "structured_outputs"), (400, "response_format")]
        async with world.http.get("/health") as response:
            assert response.status == 200


def test_grammars_are_compiled_in_killable_processes_and_in_the_engine_by_one_file() -> None:
    """vLLM CVE-2026-55574: a regex bomb stopped the server. `test_grammars.py` shows what becomes of one."""
    users = {name for name, tree in trees(SERVICES) if any(m.split(".")[0] == "llguidance" for m in imported(tree))}
    assert users == {"services/gateway/checking.py", "services/engine/worker/grammars.py"}
    importers = {name for name, tree in trees(SERVICES) if "services.gateway.checking" in imported(tree)}
    assert not importers, "the gateway's own process compiles none"


def test_what_is_remembered_of_grammars_is_bounded_in_bytes() -> None:
    """vLLM CVE-2025-29770: a cache of grammars filled the disk; here verdicts in memory, oldest out first."""
    verdicts = Verdicts(most_bytes=2000)
    for number in range(1000):
        verdicts.keep(f"grammar {number}", "x" * (number % 100))
        assert verdicts.bytes <= 2000
    assert 0 < len(verdicts) < 20
    assert verdicts.find("grammar 999") == "x" * 99 and verdicts.find("grammar 0") is None
