"""Bytes to a checked body, or OpenAI's error naming the field. Pure."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from services.gateway.body import Body
from services.gateway.openai import ChatBody, CompletionBody, check
from services.gateway.refusals import without
from shared.errors import ClientError

B = TypeVar("B", ChatBody, CompletionBody)
M = TypeVar("M", bound=Body)

_CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}
_SUBJECT = re.compile(r"^(Input|String|List|Dictionary|Value) should ")


def parse(kind: type[B], data: bytes) -> B:
    """Raises ClientError; its `param` is the path of the field as OpenAI writes it, "messages.0.content"."""
    body = shaped(kind, data)
    check(body)
    return body


def shaped(kind: type[M], data: bytes) -> M:
    """Each field for itself. Raises ClientError as `parse` does."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ClientError(f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ClientError("the body must be a JSON object", code="invalid_json")
    try:
        return kind.model_validate(without(kind.refused, fields))
    except ValidationError as error:
        raise explain(error, fields) from None


def explain(error: ValidationError, fields: dict[str, Any]) -> ClientError:
    """The first complaint in the words of OpenAI's API."""
    first = error.errors(include_url=False, include_context=False)[0]
    kind, value = first["type"], first["input"]
    path = _path(first["loc"], fields, missing=kind == "missing")
    param = ".".join(path)
    if kind == "extra_forbidden":
        return ClientError(f"Unrecognized request argument supplied: {param}", param=param, code=_CODES[kind])
    if kind == "missing":
        return ClientError(f"{param} is required", param=param, code=_CODES[kind])
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    wanted = _SUBJECT.sub("must ", first["msg"]).replace(" after validation", "")
    return ClientError(f"{param or 'the body'} {wanted}{_not(value, wanted)}", param=param or None, code=code)


def _path(loc: Sequence[int | str], fields: Any, *, missing: bool) -> list[str]:
    """Pydantic's location without what only the models know (union tags), up to the last field that has a name."""
    path: list[str] = []
    named, at = 0, fields
    for part in loc[:-1] if missing else loc:
        match at, part:
            case dict(), str() if part in at:
                at = at[part]
                path.append(part[:100])
                named = len(path)
            case list(), int() if part < len(at):
                at = at[part]
                path.append(str(part))
    return [*path, str(loc[-1])] if missing else path[:named]


def _not(value: Any, wanted: str) -> str:
    """The offending value, if it is short enough to say and has not been said."""
    if ", not " in wanted or not isinstance(value, str | int | float):
        return ""
    said = orjson.dumps(value).decode()
    return f", not {said}" if len(said) <= 64 else ""
