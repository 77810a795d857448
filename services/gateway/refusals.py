"""Parameters of OpenAI's API and of vLLM's that are known and not taken: why, and what to send instead. Pure.

The only list of them. A value that asks for nothing beyond what is done anyway is let through; any other is refused by
name. What stands neither here nor in the models is unknown, and refused as such. `docs/api.md` quotes each message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import ClientError


@dataclass(frozen=True, slots=True)
class Refusal:
    why: str
    harmless: tuple[Any, ...] = ()  # values that change nothing

    def takes(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.harmless)


Refusals = Mapping[str, Refusal]

_STRUCTURED = "send structured_outputs: {{{}}}"
_ONE_TOKEN = "tokens are sampled one after the other; send temperature, top_p or n"
_PROCESSORS = "no code comes from clients; send logit_bias, allowed_token_ids, bad_words or structured_outputs"
_TEXT_ALONE = "the models served here read and write text"
_RENDERING = "it belongs to vLLM's render endpoints; /tokenize tells what a prompt becomes"
_IDS = "answers are text; send what they say to /tokenize for its ids"
_MOVING = "requests move between engines by themselves, without a client's help"

BOTH: Refusals = {
    "best_of": Refusal("send n and choose among the answers", (1,)),
    "use_beam_search": Refusal(_ONE_TOKEN, (False,)),
    "length_penalty": Refusal("it is of beam search, which is not done; send max_tokens or min_tokens", (1, 1.0)),
    "early_stopping": Refusal("it is of beam search, which is not done; send stop or max_tokens", (False,)),
    "repetition_detection": Refusal("send repetition_penalty, frequency_penalty or max_tokens"),
    "watermarking": Refusal("answers are not marked", (False,)),
    "thinking_token_budget": Refusal(
        "send max_tokens, or chat_template_kwargs for a template that can do without thought", (-1,)
    ),
    "logits_processors": Refusal(_PROCESSORS),
    "logit_processors": Refusal(_PROCESSORS),
    "guided_json": Refusal(_STRUCTURED.format('"json": ...')),
    "guided_regex": Refusal(_STRUCTURED.format('"regex": ...')),
    "guided_choice": Refusal(_STRUCTURED.format('"choice": [...]')),
    "guided_grammar": Refusal(_STRUCTURED.format('"grammar": ...')),
    "guided_json_object": Refusal('send response_format: {"type": "json_object"}', (False,)),
    "guided_decoding_backend": Refusal("there is one backend; send structured_outputs"),
    "guided_whitespace_pattern": Refusal("send structured_outputs, with x-guidance in the schema"),
    "structural_tag": Refusal(_STRUCTURED.format('"grammar": ...')),
    "mm_processor_kwargs": Refusal(_TEXT_ALONE),
    "media_io_kwargs": Refusal(_TEXT_ALONE),
    "return_mm_kwargs": Refusal(_RENDERING, (True,)),
    "return_token_offsets": Refusal(_RENDERING, (False,)),
    "return_token_ids": Refusal(_IDS, (False,)),
    "return_tokens_as_token_ids": Refusal(_IDS, (False,)),
    "logprob_token_ids": Refusal("send logprobs or top_logprobs, which tell the likeliest tokens"),
    "return_prompt_text": Refusal("send the messages to /tokenize, and what it answers to /detokenize", (False,)),
    "prompt_embeds": Refusal("send text or token ids"),
    "kv_transfer_params": Refusal(_MOVING),
    "ec_transfer_params": Refusal(_MOVING),
    "vllm_xargs": Refusal("there are no extensions to hand it to"),
    "routed_experts_prompt_start": Refusal("the experts a token was sent to are not told", (0,)),
    "stream_interval": Refusal("each event holds what has come since the last one", (1,)),
    "request_id": Refusal("ids are made here, see X-Request-Id; for retries send the header Idempotency-Key"),
    "session_id": Refusal("prompts that begin alike share their prefix by themselves"),
    "moderation": Refusal("nothing is moderated here"),
    "prompt_cache_options": Refusal("prefixes are cached by themselves, while there is room"),
    "prompt_cache_retention": Refusal("prefixes are cached in memory, while there is room", ("in_memory",)),
}


def _elsewhere(path: str, *names: str) -> Refusals:
    return {name: Refusal(f"only {path} has it") for name in names}


CHAT: Refusals = {
    **BOTH,
    "functions": Refusal("send tools"),
    "function_call": Refusal("send tool_choice"),
    "modalities": Refusal(_TEXT_ALONE, (["text"],)),
    "audio": Refusal(_TEXT_ALONE),
    "prediction": Refusal("send the text as the final message, with continue_final_message"),
    "web_search_options": Refusal("nothing is looked up; send tools, and answer their calls"),
    "verbosity": Refusal("say in the messages how long the answer should be"),
    "chat_template": Refusal("templates come with the checkpoint"),
    "documents": Refusal("write them into the messages"),
    **_elsewhere("/v1/completions", "prompt", "suffix", "echo"),
}

COMPLETION: Refusals = {
    **BOTH,
    "suffix": Refusal("no served model fills gaps by a form that is known here; write its own marks into the prompt"),
    **_elsewhere(
        "/v1/chat/completions",
        *("messages", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls"),
        *("functions", "function_call", "reasoning_effort", "include_reasoning", "chat_template"),
        *("chat_template_kwargs", "add_generation_prompt", "continue_final_message", "documents"),
        *("modalities", "audio", "prediction", "web_search_options", "verbosity", "top_logprobs"),
    ),
}


TOKENIZE: Refusals = {name: CHAT[name] for name in ("chat_template", "mm_processor_kwargs", "media_io_kwargs")}


def without(refusals: Refusals, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields less those that change nothing. Raises ClientError for the first that is not taken."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        refusal = refusals.get(name)
        if refusal is None or value is None:
            kept[name] = value
        elif not refusal.takes(value):
            raise ClientError(f"{name} is not taken: {refusal.why}", param=name, code="unsupported_parameter")
    return kept
