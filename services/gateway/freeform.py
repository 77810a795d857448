"""JSON of a client's own making within a body: bounded in bytes and in depth before anything is made of it. Pure."""

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

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
