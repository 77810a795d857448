"""What a client may say of single tokens: which are likelier, which alone may be drawn, and which words may not."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from services.gateway.body import Body, TokenId
from services.gateway.limits import Limits
from shared.errors import ClientError
from shared.types import MAX_ALLOWED_IDS, MAX_BANNED_IDS, MAX_LOGIT_BIAS, TokenIds

MAX_BAD_WORDS = 128


def _decimal(value: Any) -> Any:
    """One way to write each id, so that none has two biases."""
    if not (
        isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 and value == str(int(value))
    ):
        raise PydanticCustomError("id_type", "Input should be a token id in decimals")
    return value


def _spelled(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("blank", "Input should hold more than spaces")
    return value


BiasedId = Annotated[str, BeforeValidator(_decimal)]
Bias = Annotated[float, Field(ge=-100, le=100)]
BadWord = Annotated[str, Field(max_length=256), BeforeValidator(_spelled)]


class Steering(Body):
    """OpenAI's `logit_bias` and vLLM's two others."""

    logit_bias: Annotated[dict[BiasedId, Bias], Field(max_length=MAX_LOGIT_BIAS, description="by token id")] = Field(
        default_factory=dict
    )
    allowed_token_ids: Annotated[list[TokenId], Field(fail_fast=True, min_length=1, max_length=MAX_ALLOWED_IDS)] = (
        Field(default_factory=list)
    )
    bad_words: Annotated[list[BadWord], Field(fail_fast=True, max_length=MAX_BAD_WORDS)] = Field(default_factory=list)

    @property
    def biases(self) -> dict[int, float]:
        return {int(id): bias for id, bias in self.logit_bias.items() if bias}


def check_steering(body: Steering, banned: tuple[TokenIds, ...], limits: Limits) -> None:
    """`banned`: what the bad words are as tokens. Raises ClientError."""
    limits.check_ids(tuple(map(int, body.logit_bias)), "logit_bias")
    limits.check_ids(tuple(body.allowed_token_ids), "allowed_token_ids")
    if (total := sum(map(len, banned))) > MAX_BANNED_IDS:
        message = f"bad_words must be at most {MAX_BANNED_IDS} tokens in all, not {total}"
        raise ClientError(message, param="bad_words", code="invalid_value")
    if body.allowed_token_ids and {(id,) for id in body.allowed_token_ids} <= set(banned):
        message = "allowed_token_ids and bad_words leave no token that may be drawn"
        raise ClientError(message, param="allowed_token_ids", code="invalid_value")
