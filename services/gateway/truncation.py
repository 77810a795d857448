"""`truncate_prompt_tokens`: a prompt that is too long loses its beginning instead of being refused. Pure."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.gateway.limits import Limits
from shared.errors import ClientError
from shared.types import TokenIds

WHOLE_ROOM = -1  # keep as many tokens as leave room for the output
MAX_CUT_CHARACTERS = 1 << 20  # of a text that is tokenized to be cut, if its like would be refused otherwise


def _not_nothing(value: int) -> int:
    if not value:
        raise PydanticCustomError("nothing_left", "Input should be -1 or at least 1")
    return value


Kept = Annotated[
    int,
    Field(ge=WHOLE_ROOM, lt=2**31, description="the last so many; -1: as many as leave room for the output"),
    AfterValidator(_not_nothing),
    WithJsonSchema({"anyOf": [{"const": WHOLE_ROOM}, {"type": "integer", "minimum": 1}]}),
]


def kept_tokens(asked: int | None, output: int, limits: Limits) -> int | None:
    """How many tokens at the end of each prompt are kept; None: all. `output`: for how many there must be room behind
    it. Raises ClientError for more than fit."""
    if asked is None:
        return None
    if asked == WHOLE_ROOM:
        return max(1, limits.max_model_len - output)
    if asked >= limits.max_model_len:
        name = "truncate_prompt_tokens"
        raise ClientError(f"{name} must be at most {limits.max_model_len - 1}", param=name, code="invalid_value")
    return asked


def cut(ids: TokenIds, kept: int | None) -> TokenIds:
    return ids if kept is None else ids[-kept:]


def check_text(characters: int, longest_token: int, limits: Limits, param: str, *, cuts: bool) -> None:
    """Before the work of tokenizing: what cannot fit is refused, and so is what is too long even to be cut."""
    if not cuts or characters > most_characters(longest_token, limits, cuts=cuts):
        limits.check_text(characters, longest_token, param)


def most_characters(longest_token: int, limits: Limits, *, cuts: bool) -> int:
    fits = limits.max_model_len * longest_token
    return max(fits, MAX_CUT_CHARACTERS) if cuts else fits
