"""One client request to the requests of its choices: every field of what goes on the bus."""

import json
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.defaults import SamplingDefaults
from services.gateway.fanout import Call, Model, fan_out, shard_of
from services.gateway.limits import MAX_CHOICE_TOKENS, Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.validation import parse
from shared.errors import ClientError
from shared.messages import GenerateRequest, RenderSpec
from shared.types import SamplingParams, TokenIds

LIMITS = Limits(max_model_len=100, vocab_size=50)
MODEL = Model(eos=(2, 0), defaults=SamplingDefaults(temperature=0.7, top_p=0.95, top_k=20, min_p=0.1))
CALL = Call(parent="cmpl-" + "0" * 32, gateway="gw", shards=4, seed=1000, now_ms=1_700_000_000_999, traceparent="tp")


def of_chat(prompt: TokenIds = (5, 6, 7), **fields: Any) -> tuple[GenerateRequest, ...]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return fan_out(parse(ChatBody, json.dumps(body).encode()), [prompt], MODEL, LIMITS, CALL)


def of_completion(*prompts: TokenIds, **fields: Any) -> tuple[GenerateRequest, ...]:
    body = {"model": "m", "prompt": [list(prompt) for prompt in prompts]} | fields
    return fan_out(parse(CompletionBody, json.dumps(body).encode()), prompts, MODEL, LIMITS, CALL)


def test_the_whole_of_a_request() -> None:
    """Nothing a client can say is lost on the way to the bus."""
    [request] = of_completion(
        (5, 6, 7),
        max_tokens=9,
        min_tokens=2,
        temperature=0.25,
        top_p=0.5,
        top_k=7,
        min_p=0.125,
        seed=42,
        presence_penalty=1.5,
        frequency_penalty=-1.5,
        repetition_penalty=1.25,
        stop=["END"],
        stop_token_ids=[9, 2],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert request == GenerateRequest(
        id=CALL.parent + ".0",
        parent_id=CALL.parent,
        index=0,
        prompt=(5, 6, 7),
        sampling=SamplingParams(
            max_tokens=9,
            min_tokens=2,
            temperature=0.25,
            top_p=0.5,
            top_k=7,
            min_p=0.125,
            seed=42,
            presence_penalty=1.5,
            frequency_penalty=-1.5,
            repetition_penalty=1.25,
            stop_ids=(9, 2, 0),
        ),
        render=RenderSpec(
            kind="completion",
            model="m",
            created=1_700_000_000,
            stream=True,
            choices=1,
            prompt_tokens=3,
            include_usage=True,
            stop=("END",),
        ),
        shard=shard_of(CALL.parent, 4),
        gateway="gw",
        lane="interactive",
        arrived_ms=1_700_000_000_999,
        traceparent="tp",
    )


def test_what_is_unset_takes_the_models_defaults() -> None:
    [request] = of_completion((5,))
    assert request.sampling == SamplingParams(
        max_tokens=16, temperature=0.7, top_p=0.95, top_k=20, min_p=0.1, seed=1000, stop_ids=(2, 0)
    )


def test_what_is_set_to_its_neutral_value_overrides_the_models_default() -> None:
    [request] = of_completion((5,), temperature=0, top_p=1, top_k=-1, min_p=0)
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 1, 0, 0)


def test_choices_count_all_of_the_first_prompt_before_the_second() -> None:
    """As OpenAI numbers them; each draws with its own seed, and the parent's prompt tokens are counted once."""
    requests = of_completion((5,), (6, 7), n=3, seed=10)
    assert [(r.index, r.prompt, r.sampling.seed) for r in requests] == [
        (0, (5,), 10),
        (1, (5,), 11),
        (2, (5,), 12),
        (3, (6, 7), 13),
        (4, (6, 7), 14),
        (5, (6, 7), 15),
    ]
    assert [r.id for r in requests] == [f"{CALL.parent}.{i}" for i in range(6)]
    assert {(r.parent_id, r.shard, r.render.choices, r.render.prompt_tokens) for r in requests} == {
        (CALL.parent, shard_of(CALL.parent, 4), 6, 3)
    }


@pytest.mark.parametrize(("seed", "folded"), [(0, 0), (-1, 2**63 - 1), (2**64 - 1, 2**63 - 1), (-(2**63), 0)])
def test_any_64_bit_seed_is_folded_to_63_bits(seed: int, folded: int) -> None:
    assert of_chat(seed=seed)[0].sampling.seed == folded


def test_seeds_of_choices_wrap_around() -> None:
    assert [r.sampling.seed for r in of_chat(seed=2**63 - 1, n=2)] == [2**63 - 1, 0]


def test_without_a_seed_the_gateways_is_used() -> None:
    assert [r.sampling.seed for r in of_chat(n=2)] == [1000, 1001]


def test_ignore_eos_leaves_only_the_clients_stop_ids() -> None:
    assert of_chat(ignore_eos=True)[0].sampling.stop_ids == ()
    assert of_chat(ignore_eos=True, stop_token_ids=[7])[0].sampling.stop_ids == (7,)
    assert of_chat()[0].sampling.stop_ids == (2, 0)


def test_a_chat_may_go_on_until_the_context_is_full() -> None:
    assert of_chat((5,) * 60)[0].sampling.max_tokens == 40


def test_a_completion_has_16_tokens_or_what_fits() -> None:
    assert of_completion((5,) * 60)[0].sampling.max_tokens == 16
    assert of_completion((5,) * 95)[0].sampling.max_tokens == 5
    assert of_completion((5,), min_tokens=20)[0].sampling.max_tokens == 20


def test_an_answer_that_does_not_fit_says_both_numbers() -> None:
    with pytest.raises(ClientError, match=r"100 tokens.*101 tokens \(60 in the prompt, 41 for the") as refusal:
        of_chat((5,) * 60, max_completion_tokens=41)
    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "max_completion_tokens")
    assert of_chat((5,) * 60, max_tokens=40)[0].sampling.max_tokens == 40


@pytest.mark.parametrize("length", [100, 101, 5000])
def test_a_prompt_that_leaves_no_room_says_both_numbers(length: int) -> None:
    with pytest.raises(ClientError, match=rf"100 tokens.*{length + 1} tokens") as refusal:
        of_completion((5,) * length)
    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "prompt")
    with pytest.raises(ClientError) as refusal:
        of_chat((5,) * length)
    assert refusal.value.param == "messages"


def test_min_tokens_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ClientError, match="100 tokens") as refusal:
        of_chat((5,) * 60, min_tokens=41)
    assert refusal.value.param == "min_tokens"


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ClientError) as refusal:
        fan_out(parse(CompletionBody, b'{"model":"m","prompt":""}'), [()], MODEL, LIMITS, CALL)
    assert refusal.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "fields", "param"), [((5, 50), {}, "prompt"), ((5,), {"stop_token_ids": [50]}, "stop_token_ids")]
)
def test_ids_beyond_the_models_output_are_refused(prompt: TokenIds, fields: dict[str, Any], param: str) -> None:
    """They would index past the logits (CVE-2026-93840). The vocabulary is the engine's, not the tokenizer's."""
    with pytest.raises(ClientError, match="50") as refusal:
        of_completion(prompt, **fields)
    assert refusal.value.param == param
    assert of_completion((49,), stop_token_ids=[49])


def test_the_choices_of_a_long_prompt_are_bounded() -> None:
    """Every choice carries its prompt over the bus."""
    limits = replace(LIMITS, max_model_len=1 << 20)
    body = parse(CompletionBody, b'{"model":"m","prompt":"x","n":128}')
    with pytest.raises(ClientError) as refusal:
        fan_out(body, [(5,) * (MAX_CHOICE_TOKENS // 128 + 1)], MODEL, limits, CALL)
    assert refusal.value.param == "prompt"
    assert len(fan_out(body, [(5,) * (MAX_CHOICE_TOKENS // 128)], MODEL, limits, CALL)) == 128


def test_a_parent_always_has_the_same_shard() -> None:
    """crc32 of the id, so any gateway finds it again."""
    assert shard_of("123456789", 16) == 0xCBF43926 % 16  # the check value of CRC-32
    assert {shard_of(f"cmpl-{i:032x}", 4) for i in range(64)} == {0, 1, 2, 3}


def test_no_salt_that_a_client_may_bring_makes_it_share_blocks_with_another_tenant() -> None:
    """Nor with itself under another salt; without one it shares them with its own requests."""
    tenants, salts = ("", "0123456789ab", "ba9876543210"), (None, "x", "/x", "0123456789ab", "ba9876543210/x")
    found: list[str] = []
    for tenant in tenants:
        call = replace(CALL, tenant=tenant)
        for salt in salts:
            body = parse(CompletionBody, json.dumps({"model": "m", "prompt": [7], "cache_salt": salt}).encode())
            found.append(fan_out(body, [(7,)], MODEL, LIMITS, call)[0].cache_salt)
    assert len(set(found)) == len(tenants) * len(salts)
    assert [found[index * len(salts)] for index in range(3)] == list(tenants)
