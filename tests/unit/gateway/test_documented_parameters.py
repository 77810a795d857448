"""docs/api.md is held against the code: each row of its tables is tried, and nothing that is taken lacks a row."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from services.gateway.caller import life_s
from services.gateway.openai import ChatBody, CompletionBody, StreamOptions
from services.gateway.refusals import CHAT, COMPLETION, Refusals
from shared.errors import ClientError
from tests.unit.gateway.documented import ROOT, Endpoint, Key, Way, body, rows
from tests.unit.gateway.parameter_cases import CASES, DETOKENIZER, NO_EFFECT, STREAM

ROWS = rows()
TAKEN = [key for key, row in ROWS.items() if row.status == "yes"]
INERT = [key for key, row in ROWS.items() if row.status == "no effect"]
REFUSED = [key for key, row in ROWS.items() if row.status == "refused"]
BY_LIFE = "timeout"  # it ends a request, and is no part of it
PATHS: dict[Endpoint, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
VLLM = re.findall(
    r"\w+",
    """use_beam_search top_k min_p repetition_penalty watermarking length_penalty stop_token_ids
    include_stop_str_in_output ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens
    truncate_prompt_tokens truncation_side prompt_logprobs logprob_token_ids allowed_token_ids bad_words
    add_special_tokens structured_outputs priority request_id session_id return_tokens_as_token_ids return_token_ids
    routed_experts_prompt_start return_token_offsets return_mm_kwargs cache_salt kv_transfer_params ec_transfer_params
    vllm_xargs repetition_detection thinking_token_budget stream_interval""",
)
VLLM_CHAT = re.findall(
    r"\w+",
    """include_reasoning add_generation_prompt continue_final_message documents chat_template chat_template_kwargs
    media_io_kwargs mm_processor_kwargs return_prompt_text""",
)


@pytest.fixture(scope="module")
def way(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with ThreadPoolExecutor(1) as threads:
        yield Way(checkpoint, tmp_path_factory.mktemp("documented"), threads)


def test_each_row_has_a_case_and_each_case_a_row() -> None:
    assert {key for key in TAKEN if key[1] != BY_LIFE} == CASES.keys()
    assert {name for _, name in INERT} == {*NO_EFFECT, "stream_options.include_obfuscation"}


def test_each_field_of_a_body_has_a_row_that_says_it_is_taken() -> None:
    options = {f"stream_options.{name}" for name in StreamOptions.model_fields}
    kinds: tuple[tuple[Endpoint, type[ChatBody] | type[CompletionBody]], ...]
    kinds = (("chat", ChatBody), ("completions", CompletionBody))
    for endpoint, kind in kinds:
        told = {name for where, name in (*TAKEN, *INERT) if where == endpoint}
        assert told == kind.model_fields.keys() | options


def test_each_parameter_of_openai_and_of_vllm_has_a_row() -> None:
    """OpenAI's as its own client knows them; vLLM's as of 0.32."""
    chat = {*chat_create_params.CompletionCreateParamsBase.__annotations__, "stream", *VLLM, *VLLM_CHAT}
    completions = {*completion_create_params.CompletionCreateParamsBase.__annotations__, "stream", *VLLM}
    assert chat <= {name for endpoint, name in ROWS if endpoint == "chat"}
    assert {*completions, "prompt_embeds"} <= {name for endpoint, name in ROWS if endpoint == "completions"}


@pytest.mark.parametrize("key", TAKEN, ids="-".join)
async def test_what_is_taken_changes_what_is_asked_for(way: Way, key: Key) -> None:
    """What goes on the bus; where a client sees it in what the detokenizer writes, there is a test of that too."""
    endpoint, name = key
    if name == BY_LIFE:
        assert [life_s(body(endpoint, fields), {}, 9.0) for fields in ({}, {"timeout": 2})] == [9.0, 2.0]
        return
    case = CASES[key]
    assert name.partition(".")[0] in case.fields
    assert case.sees(await way.go(endpoint, case.beside)) != case.want
    assert case.sees(await way.go(endpoint, {**case.beside, **case.fields})) == case.want
    if case.shown:
        file, _, test = case.shown.partition("::")
        assert f"def {test}(" in (ROOT / DETOKENIZER / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("key", INERT, ids="-".join)
async def test_what_has_no_effect_changes_nothing(way: Way, key: Key) -> None:
    endpoint, name = key
    beside: dict[str, Any] = STREAM | {"stream_options": {}} if "." in name else {}
    fields = {"stream_options": {"include_obfuscation": False}} if "." in name else {name: NO_EFFECT[name]}
    assert await way.go(endpoint, beside | fields) == await way.go(endpoint, beside)


@pytest.mark.parametrize("key", REFUSED, ids="-".join)
async def test_what_is_refused_is_refused_in_these_words(way: Way, key: Key) -> None:
    endpoint, name = key
    with pytest.raises(ClientError) as refusal:
        body(endpoint, {name: "something"})
    assert (refusal.value.status, refusal.value.param, refusal.value.message) == (400, name, ROWS[key].message)
    for value in ROWS[key].taken:
        assert await way.go(endpoint, {name: value}) == await way.go(endpoint, {})


def test_each_refusal_of_the_table_has_a_row_or_follows_the_rule() -> None:
    """Of a parameter that only the other endpoint has, that one has the row."""
    sides: tuple[tuple[Endpoint, Endpoint, Refusals], ...]
    sides = (("chat", "completions", CHAT), ("completions", "chat", COMPLETION))
    for endpoint, other, table in sides:
        for name, refusal in table.items():
            if row := ROWS.get((endpoint, name)):
                assert row.message == f"{name} is not taken: {refusal.why}"
                assert row.taken == list(refusal.harmless)
            else:
                assert refusal.why == f"only {PATHS[other]} has it" and (other, name) in ROWS
    for endpoint, name in ROWS:
        other = "completions" if endpoint == "chat" else "chat"
        if (other, name) not in ROWS:
            with pytest.raises(ClientError) as refusal_:
                body("completions" if endpoint == "chat" else "chat", {name: "something"})
            assert refusal_.value.message == f"{name} is not taken: only {PATHS[endpoint]} has it"


def test_the_page_links_to_what_is_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert all((ROOT / "docs" / link).is_file() for link in re.findall(r"\]\(([^)#]+)\)", text))
