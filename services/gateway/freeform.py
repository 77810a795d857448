"""JSON of a client's own making within a body: bounded in bytes and in depth before anything is made of it. And fields
that are known well enough to say what to send instead of them. Pure."""

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_DEPTH = 64  # of objects and lists in each other


def too_deep(value: Any) -> bool:
    """Level by level, so that no depth is too much for it."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for one in level:
            match one:
                case dict():
                    inner += one.values()
                case list():
                    inner += one
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def an_object(most_bytes: int) -> BeforeValidator:
    """Of a `dict[str, Any]`: no more than so many bytes, as JSON without blanks."""
    return BeforeValidator(_checked(most_bytes))


def _checked(most_bytes: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise PydanticCustomError("object_type", "Input should be an object")
        if too_deep(value):
            raise PydanticCustomError("too_deep", "Input should be nested at most {most} deep", {"most": MAX_DEPTH})
        if len(orjson.dumps(value)) > most_bytes:
            raise PydanticCustomError("too_long", "Input should have at most {most} bytes", {"most": most_bytes})
        return value

    return check


class Refused:
    """Of a field that is not taken: why, and what to send instead."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._refuse)

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "null", "deprecated": True, "description": f"not taken: {self._why}"}

    def _refuse(self, _: Any) -> None:
        raise PydanticCustomError("refused", "is not taken: {why}", {"why": self._why})
