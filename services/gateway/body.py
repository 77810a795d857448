"""What every object of a request's body keeps to, and the simplest kinds of its fields."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from services.gateway.refusals import Refusals

MAX_FIELDS = 64  # of one JSON object; more would only make the list of complaints long


class Body(BaseModel):
    """An object of a request. No field may be unknown; a null field is as good as absent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    refused: ClassVar[Refusals] = {}  # what is known, and not taken

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            raise PydanticCustomError("object_type", "Input should be an object")
        if len(fields) > MAX_FIELDS:
            raise PydanticCustomError("too_long", "Input should have at most {most} fields", {"most": MAX_FIELDS})
        return {name: value for name, value in fields.items() if value is not None}


def _no(value: Any) -> Any:
    """`Literal[False]` would take 0, with which a completion asks for logprobs."""
    if value is not False:
        raise PydanticCustomError("not_false", "Input should be false")
    return value


Off = Annotated[Literal[False], BeforeValidator(_no)]
Count = Annotated[int, Field(ge=1)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
