"""What the model behind the gateway can take, and the refusals that follow from it. Pure."""

from dataclasses import dataclass

from shared.errors import ClientError
from shared.types import TokenIds

MAX_PROMPT_SCORES = 1 << 16  # see `check_scores`; as many hold a detokenizer up for a fifth of a second (docs/log.md)
MAX_CHOICE_TOKENS = 1 << 20  # prompt tokens of one client request, once for each choice: what the bus must carry


@dataclass(frozen=True, slots=True)
class Limits:
    max_model_len: int  # tokens, prompt and output together
    vocab_size: int  # the width of the logits

    def check_text(self, characters: int, longest_token: int, param: str) -> None:
        """Raises ClientError for a text that cannot fit, before the work of tokenizing it: were each of its tokens as
        long as the vocabulary's longest, it would still be too many. (vLLM does the same.)
        """
        if (fewest := -(-characters // longest_token)) >= self.max_model_len:
            raise _too_long(self.max_model_len, fewest, 1, param, least="at least ")

    def check_prompt(self, ids: TokenIds, param: str) -> None:
        """Raises ClientError for an empty prompt, one that leaves no room for output, or ids beyond the vocabulary."""
        if not ids:
            raise ClientError(f"{param} must hold at least one token", param=param, code="invalid_value")
        if len(ids) >= self.max_model_len:
            raise _too_long(self.max_model_len, len(ids), 1, param)
        self.check_ids(ids, param)

    def check_ids(self, ids: TokenIds, param: str) -> None:
        if ids and max(ids) >= self.vocab_size:
            message = f"{param} holds token id {max(ids)}; the model's vocabulary ends at {self.vocab_size - 1}"
            raise ClientError(message, param=param, code="invalid_value")

    def check_output(self, prompt_tokens: int, max_tokens: int, param: str) -> None:
        """Raises ClientError if `max_tokens` do not fit behind the prompt."""
        if prompt_tokens + max_tokens > self.max_model_len:
            raise _too_long(self.max_model_len, prompt_tokens, max_tokens, param)


def check_volume(prompt_tokens: int, n: int, param: str) -> None:
    """Raises ClientError if the choices together are more than one message should put on the bus."""
    if prompt_tokens * n > MAX_CHOICE_TOKENS:
        message = f"{param}: {n} choices of {prompt_tokens} prompt tokens are more than {MAX_CHOICE_TOKENS} in all"
        raise ClientError(message, param=param, code="invalid_value")


def check_scores(tokens: int, beside: int, param: str) -> None:
    """`tokens` of all prompts are told with a score each, and `beside` others. A token costs as much as three of those
    beside it. Raises ClientError for more than others should have to wait for."""
    if (most := MAX_PROMPT_SCORES // (4 + beside)) < tokens:
        message = f"{param} of {beside} can be told of at most {most} prompt tokens in one request, not of {tokens}"
        raise ClientError(message, param=param, code="invalid_value")


def _too_long(context: int, prompt_tokens: int, max_tokens: int, param: str, least: str = "") -> ClientError:
    message = (
        f"This model's maximum context length is {context} tokens. However, you requested {least}"
        f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the prompt, {max_tokens} for the completion). "
        "Please reduce the length of the prompt or of the completion."
    )
    return ClientError(message, param=param, code="context_length_exceeded")
