"""One client request to the requests of its choices. Pure: ids, dice and time are given.

Choice `index` counts as OpenAI does: all `n` of the first prompt, then all of the second. It draws with `seed + index`.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.defaults import SamplingDefaults
from services.gateway.forms import TEXT_ALONE, Forms
from services.gateway.limits import Limits, check_scores, check_volume
from services.gateway.openai import ChatBody, CompletionBody, least_output
from services.gateway.steering import check_steering
from shared.messages import GenerateRequest, RenderSpec
from shared.types import Lane, ParentId, SamplingParams, TokenIds, request_id

SEED_BITS = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the gateway adds to a client's request."""

    parent: ParentId
    gateway: str  # this process
    shards: int
    seed: int  # for a client that gave none
    now_ms: int
    unread_s: float | None = None
    deadline_ms: int | None = None  # on the bus's clock
    lane: Lane = "interactive"
    tenant: str = ""
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the checkpoint adds."""

    eos: TokenIds
    defaults: SamplingDefaults
    forms: Forms = TEXT_ALONE


def shard_of(parent: ParentId, shards: int) -> int:
    return zlib.crc32(parent.encode()) % shards


def fan_out(
    body: ChatBody | CompletionBody,
    prompts: Sequence[TokenIds],
    model: Model,
    limits: Limits,
    call: Call,
    banned: tuple[TokenIds, ...] = (),
    grammar: str = "",
) -> tuple[GenerateRequest, ...]:
    """`banned`: the body's bad words as tokens; `grammar`: what each answer must match. Raises ClientError if a prompt
    or an id does not fit the model."""
    param = "messages" if isinstance(body, ChatBody) else "prompt"
    for prompt in prompts:
        limits.check_prompt(prompt, param)
    limits.check_ids(tuple(body.stop_token_ids), "stop_token_ids")
    check_steering(body, banned, limits)
    check_volume(sum(map(len, prompts)), body.n, param)
    if body.prompt_scores >= 0:
        name = "logprobs" if body.prompt_logprobs is None else "prompt_logprobs"
        check_scores(sum(map(len, prompts)) * body.n, body.prompt_scores, name)
    render = _render(body, prompts, model.forms, call)
    seed = call.seed if body.seed is None else body.seed
    return tuple(
        GenerateRequest(
            id=request_id(call.parent, index),
            parent_id=call.parent,
            index=index,
            prompt=prompt,
            sampling=_sampling(body, model, _max_tokens(body, len(prompt), limits), seed + index, banned, grammar),
            render=render,
            shard=shard_of(call.parent, call.shards),
            gateway=call.gateway,
            arrived_ms=call.now_ms,
            unread_s=call.unread_s,
            deadline_ms=call.deadline_ms,
            lane=call.lane,
            tenant=call.tenant,
            cache_salt=_salt(body, call),
            priority=body.priority,
            traceparent=call.traceparent,
        )
        for index, prompt in enumerate(prompt for prompt in prompts for _ in range(body.n))
    )


def _render(body: ChatBody | CompletionBody, prompts: Sequence[TokenIds], forms: Forms, call: Call) -> RenderSpec:
    return RenderSpec(
        kind="chat" if isinstance(body, ChatBody) else "completion",
        model=body.model,
        created=call.now_ms // 1000,
        stream=body.stream,
        choices=len(prompts) * body.n,
        prompt_tokens=sum(map(len, prompts)),
        prompts=len(prompts),
        include_usage=body.include_usage,
        continuous_usage=body.continuous_usage,
        stop=tuple(body.stop),
        include_stop=body.include_stop_str_in_output,
        skip_special_tokens=body.skip_special_tokens,
        echo=isinstance(body, CompletionBody) and body.echo,
        prompt_logprobs=body.prompt_logprobs is not None,
        markup=forms.markup(body) if isinstance(body, ChatBody) else None,
    )


def _salt(body: ChatBody | CompletionBody, call: Call) -> str:
    """Tenants never share blocks: the time to a first token would tell what another one has asked. A tenant is a digest
    or nothing, so no salt of one client's makes another one's."""
    return call.tenant if body.cache_salt is None else f"{call.tenant}/{body.cache_salt}"


def _max_tokens(body: ChatBody | CompletionBody, prompt_tokens: int, limits: Limits) -> int:
    """Unset: all that fits for a chat, OpenAI's 16 (or what fits) for a completion."""
    param, asked = body.output_limit
    if asked is None:
        room = limits.max_model_len - prompt_tokens
        asked = room if isinstance(body, ChatBody) else min(room, least_output(body))
        param = "min_tokens"
    limits.check_output(prompt_tokens, max(asked, body.min_tokens), param)
    return asked


def _sampling(
    body: ChatBody | CompletionBody,
    model: Model,
    max_tokens: int,
    seed: int,
    banned: tuple[TokenIds, ...],
    grammar: str,
) -> SamplingParams:
    defaults = model.defaults
    top_k = defaults.top_k if body.top_k is None else body.top_k
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=defaults.temperature if body.temperature is None else body.temperature,
        top_p=defaults.top_p if body.top_p is None else body.top_p,
        top_k=max(top_k, 0),
        min_p=defaults.min_p if body.min_p is None else body.min_p,
        seed=seed % (1 << SEED_BITS),
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=(
            defaults.repetition_penalty if body.repetition_penalty is None else body.repetition_penalty
        ),
        min_tokens=body.min_tokens,
        stop_ids=_unique((*body.stop_token_ids, *(() if body.ignore_eos else model.eos))),
        grammar=grammar,
        bias_ids=tuple(body.biases),
        biases=tuple(body.biases.values()),
        allowed_ids=_unique(tuple(body.allowed_token_ids)),
        banned=banned,
        logprobs=body.top_scores,
        prompt_logprobs=body.prompt_scores,
    )


def _unique(ids: TokenIds) -> TokenIds:
    return tuple(dict.fromkeys(ids))
