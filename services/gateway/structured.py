"""What a client may say of the form of an answer: OpenAI's `response_format`, vLLM's `structured_outputs`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.gateway.body import Body

MAX_SCHEMA_FIELDS = 4096  # of the schema itself; its bytes are bounded besides
MAX_CHOICES, MAX_CHOICE_LENGTH = 1024, 1024
MAX_REGEX_LENGTH, MAX_GRAMMAR_LENGTH = 8 * 1024, 32 * 1024  # characters


def _schema(value: Any) -> Any:
    """A JSON Schema is an object, or true; strings are read by `grammar.py`, within its bounds."""
    if isinstance(value, dict) and len(value) > MAX_SCHEMA_FIELDS:
        raise PydanticCustomError("too_long", "Input should have at most {most} fields", {"most": MAX_SCHEMA_FIELDS})
    if not isinstance(value, dict | str) and value is not True:
        raise PydanticCustomError("schema_type", "Input should be a JSON Schema")
    return value


_SCHEMA: dict[str, Any] = {"type": "object", "description": "a JSON Schema"}
Schema = Annotated[Any, BeforeValidator(_schema), WithJsonSchema(_SCHEMA)]
SchemaOrText = Annotated[Any, BeforeValidator(_schema), WithJsonSchema({"anyOf": [_SCHEMA, {"type": "string"}]})]


class Text(Body):
    type: Literal["text"]


class JsonObject(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: Annotated[Schema, Field(alias="schema")]
    description: Annotated[str, Field(max_length=4096, description="no effect")] | None = None
    strict: Annotated[bool, Field(description="no effect: a schema is always kept to")] | None = None


class JsonSchema(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


def _type(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


ResponseFormat = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[JsonObject, Tag("json_object")]
    | Annotated[JsonSchema, Tag("json_schema")],
    Discriminator(
        _type,
        custom_error_type="format_type",
        custom_error_message="Input should be an object whose type is text, json_object or json_schema",
    ),
]


class StructuredOutputs(Body):
    """Exactly one of them."""

    json_: Annotated[SchemaOrText | None, Field(alias="json")] = None
    regex: Annotated[str, Field(min_length=1, max_length=MAX_REGEX_LENGTH)] | None = None
    choice: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=MAX_CHOICE_LENGTH)]],
            Field(fail_fast=True),
            Field(min_length=1, max_length=MAX_CHOICES),
        ]
        | None
    ) = None
    grammar: Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR_LENGTH, description="in Lark's form")] | None = (
        None
    )
