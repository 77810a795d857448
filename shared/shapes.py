"""JSON values to frozen dataclasses, by their annotations: what is of another type, missing or unknown is refused.

The bus is open, and what was built here is believed everywhere behind it.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

D = TypeVar("D")
Convert = Callable[[Any], Any]
MOST_ID = 2**31  # of a vocabulary


class Malformed(ValueError):
    """Bytes that none of our encoders wrote."""


def built(kind: Callable[..., D], value: Any, *, newer: bool = False) -> D:
    """A `kind` with these fields; with `newer` those it does not know are passed over. Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{_name(kind)}: not an object")
    known = _fields(kind)
    if not newer and (strange := value.keys() - known.keys()):
        raise Malformed(f"{_name(kind)} has no {min(strange)[:100]!r}")
    given: dict[str, Any] = {}
    for name, (convert, required) in known.items():
        if name in value:
            given[name] = convert(value[name])
        elif required:
            raise Malformed(f"{_name(kind)} needs {name!r}")
    return kind(**given)


def token_ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not set(map(type, value)) <= {int}:
        raise Malformed("token ids must be a list of whole numbers")
    if value and not (min(value) >= 0 and max(value) < MOST_ID):
        raise Malformed(f"token ids must lie between 0 and {MOST_ID - 1}")
    return tuple(value)


def text(value: Any) -> str:
    return exactly(str, value)


def number(value: Any) -> int:
    """Zero or more."""
    if exactly(int, value) < 0:
        raise Malformed(f"{value} is less than 0")
    return int(value)


def exactly(kind: type[D], value: Any) -> D:
    """Booleans are no numbers here."""
    if type(value) is not kind:
        raise Malformed(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _name(kind: Any) -> str:
    return str(kind.__name__)


@lru_cache(maxsize=64)
def _fields(kind: Any) -> Mapping[str, tuple[Convert, bool]]:
    """Of each field: how its value is taken, and whether it must be there."""
    hints = get_type_hints(kind)
    return {
        f.name: (_converter(hints[f.name]), f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)
    }


def _converter(hint: Any) -> Convert:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: _one_of(args, value)
    if origin in (Union, types.UnionType):
        inner = _converter(next(arg for arg in args if arg is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = _converter(args[0])
        return token_ids if args[0] is int else lambda value: tuple(map(item, exactly(list, value)))
    if origin is not None:  # a mapping
        item = _converter(args[1])
        return lambda value: {key: item(one) for key, one in exactly(dict, value).items()}
    if hint is float:
        return lambda value: value if type(value) is int else exactly(float, value)
    if is_dataclass(hint):
        return partial(built, cast(type, hint))
    if issubclass(hint, Enum):
        return lambda value: hint(text(value))
    return lambda value: exactly(hint, value)


def _one_of(words: tuple[Any, ...], value: Any) -> Any:
    if type(value) is str and value in words:
        return value
    raise Malformed(f"{str(value)[:100]!r} is none of {', '.join(words)}")
