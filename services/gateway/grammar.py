"""The form of an answer as one grammar for the engine: `SamplingParams.grammar`, as llguidance reads it. Pure.

Nothing is compiled here, and no more is looked at than bounds allow; `checker.py` finds out whether it can be used.
"""

import json
from collections.abc import Sequence
from typing import Any

import orjson

from services.gateway.structured import JsonObject, JsonSchema, ResponseFormat, StructuredOutputs
from shared.errors import ClientError
from shared.grammars import MAX_GRAMMAR_BYTES, too_large

MAX_DEPTH = 64  # of a schema; the library refuses beyond 128
MAX_BUS_BYTES = 4 << 20  # of the grammars of one client request, once for each choice
# Between JSON's tokens. Without a bound a model may write blanks until its tokens are used up.
WHITESPACE = {"whitespace_pattern": r"[ \t\r\n]{1,64}"}
ANY_OBJECT: dict[str, Any] = {"type": "object"}


def grammar_of(form: ResponseFormat | None, structured: StructuredOutputs | None) -> tuple[str, str]:
    """(grammar, the parameter it came from); both "" if the answer may be anything. Raises ClientError."""
    asked = structured is not None
    match form:
        case None if not asked:
            return "", ""
        case JsonObject() | JsonSchema() if asked:
            raise refusal("structured_outputs", "response_format and structured_outputs exclude each other: send one")
        case JsonObject():
            return schema_grammar(ANY_OBJECT, "response_format"), "response_format"
        case JsonSchema(json_schema=named):
            return schema_grammar(named.schema_, "response_format"), "response_format"
        case _ if asked and structured is not None:
            return _structured(structured), "structured_outputs"
        case _:
            return "", ""


def schema_grammar(schema: Any, param: str) -> str:
    """JSON that keeps to the schema. Raises ClientError, naming `param`, for one beyond the bounds."""
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise refusal(param, f"{param}: the schema must be an object")
    if _deeper_than(schema, MAX_DEPTH):
        raise refusal(param, f"{param}: the schema must not be nested deeper than {MAX_DEPTH} levels")
    own = schema.get("x-guidance")
    options = WHITESPACE | (own if isinstance(own, dict) else {})
    return _bounded({"json_schema": {**schema, "x-guidance": options}}, param)


def regex_grammar(regex: str, param: str) -> str:
    """Text that the whole of the expression matches."""
    return lark_grammar(f"start: /(?:{_between_slashes(regex)})/", param)


def choice_grammar(choices: Sequence[str], param: str) -> str:
    """One of these texts."""
    return lark_grammar("start: " + " | ".join(json.dumps(one, ensure_ascii=False) for one in choices), param)


def lark_grammar(lark: str, param: str) -> str:
    return _bounded({"lark_grammar": lark}, param)


def check_volume(grammar: str, choices: int, param: str) -> None:
    """Raises ClientError if the choices together are more than one message should put on the bus."""
    if len(grammar) * choices > MAX_BUS_BYTES:
        raise refusal(param, f"{param}: {choices} choices of {len(grammar)} bytes are more than {MAX_BUS_BYTES} in all")


def refusal(param: str, message: str) -> ClientError:
    return ClientError(message, param=param, code="invalid_value")


def _structured(asked: StructuredOutputs) -> str:
    param = "structured_outputs"
    if len(asked.model_fields_set) != 1:
        raise refusal(param, f"{param} must hold exactly one of json, regex, choice and grammar")
    if asked.json_ is not None:
        return schema_grammar(_read(asked.json_, param), param)
    if asked.regex is not None:
        return regex_grammar(asked.regex, param)
    if asked.choice is not None:
        return choice_grammar(asked.choice, param)
    return lark_grammar(asked.grammar or "", param)


def _read(schema: Any, param: str) -> Any:
    """vLLM takes the schema as a text too."""
    if not isinstance(schema, str):
        return schema
    if too_large(schema):
        raise refusal(param, f"{param}: the schema must have at most {MAX_GRAMMAR_BYTES} bytes")
    try:
        return orjson.loads(schema)
    except orjson.JSONDecodeError as error:
        raise refusal(param, f"{param}: json is no JSON: {error}") from None


def _bounded(grammar: dict[str, Any], param: str) -> str:
    text = orjson.dumps({"grammars": [grammar]}).decode()
    if too_large(text):
        raise refusal(param, f"{param}: the grammar must have at most {MAX_GRAMMAR_BYTES} bytes, not {len(text)}")
    return text


def _deeper_than(value: Any, levels: int) -> bool:
    """Level by level, so that no depth is too deep to be looked at."""
    level = [value]
    for _ in range(levels):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _between_slashes(regex: str) -> str:
    """As Lark writes an expression: no bare slash ends it, no line does."""
    parts, escaped = list[str](), False
    for character in regex:
        parts.append(
            "\\/" if character == "/" and not escaped else {"\n": "\\n", "\r": "\\r"}.get(character, character)
        )
        escaped = character == "\\" and not escaped
    return "".join(parts)
