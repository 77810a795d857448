"""The tools that a chat may call, and whether it may, must or must not. Pure."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from services.gateway.body import Body
from services.gateway.freeform import an_object
from shared.errors import ClientError

MAX_TOOLS = MAX_CALLS = 128  # OpenAI's
MAX_SCHEMA_BYTES = 64 * 1024

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Function(Body):
    name: Name
    description: Annotated[str, Field(max_length=16 * 1024)] | None = None
    parameters: Annotated[dict[str, Any], an_object(MAX_SCHEMA_BYTES), Field(description="a JSON schema")] | None = None
    strict: Annotated[bool, Field(description="its calls keep to its schema by force")] | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        """As chat templates know it."""
        return {"type": self.type, "function": self.function.model_dump(exclude={"strict"}, exclude_none=True)}


Tools = Annotated[list[Tool], Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)]


class NamedFunction(Body):
    name: Name


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


def _kind(value: Any) -> str | None:
    match value:
        case str():
            return "word"
        case dict():
            return "named"
        case _:
            return None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")] | Annotated[NamedTool, Tag("named")],
    Discriminator(
        _kind,
        custom_error_type="tool_choice_type",
        custom_error_message="Input should be none, auto, required or an object that names a function",
    ),
]


class ToolUse(Body):
    tools: Tools | None = None
    tool_choice: Annotated[ToolChoice, Field(description="auto if there are tools")] | None = None
    parallel_tool_calls: Annotated[bool, Field(description="false: the answer ends with its first call")] = True

    @property
    def callable_tools(self) -> list[Tool]:
        """Those the model is told of: none if it must not call any."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def wanted_tools(self) -> list[Tool]:
        """Those that may be called: the one that `tool_choice` names, or all."""
        if not isinstance(self.tool_choice, NamedTool):
            return self.callable_tools
        return [tool for tool in self.callable_tools if tool.function.name == self.tool_choice.function.name]

    @property
    def forced(self) -> bool:
        """Must there be a call?"""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)


def check_tools(use: ToolUse) -> None:
    """What no single field can say. Raises ClientError."""
    names = [tool.function.name for tool in use.tools or ()]
    for name, count in Counter(names).items():
        if count > 1:
            where = f"tools.{len(names) - 1 - names[::-1].index(name)}.function.name"
            raise _refusal(where, f"{where}: there is another tool with the name {name}")
    for index, tool in enumerate(use.tools or ()):
        if (tool.function.parameters or {}).get("type", "object") != "object":
            where = f"tools.{index}.function.parameters"
            raise _refusal(where, f"{where} must describe an object: calls have arguments by name")
    if use.forced and not names:
        raise _refusal("tool_choice", "tool_choice asks for a call, and there are no tools")
    if isinstance(use.tool_choice, NamedTool) and use.tool_choice.function.name not in names:
        raise _refusal("tool_choice", f"tool_choice: there is no tool with the name {use.tool_choice.function.name}")


def _refusal(param: str, message: str) -> ClientError:
    return ClientError(message, param=param, code="invalid_value")
