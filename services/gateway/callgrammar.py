"""Calls that keep to their schemas, and come if they must, as a grammar: in Lark's form, as llguidance reads it. Pure.

The head of each call is written out as the model's template writes it, its arguments are JSON that keeps to the tool's
schema. All that such a grammar allows is read as calls by the detokenizer (`services/detokenizer/toolcalls.py`).
"""

import json
from collections.abc import Collection, Sequence

import orjson

from services.gateway.tools import Tool

WHITESPACE = {"whitespace_pattern": r"[ \t\r\n]{1,64}"}  # else a model may write blanks until its tokens are used up
OPEN, CLOSE = {"hermes": "<tool_call>", "llama3": ""}, {"hermes": "</tool_call>", "llama3": ""}
MARKS = frozenset((OPEN["hermes"], CLOSE["hermes"], "<think>", "</think>"))
BETWEEN = {"hermes": "\n", "llama3": "; "}
ARGUMENTS = {"hermes": "arguments", "llama3": "parameters"}


def call_grammar(
    form: str,
    tools: Sequence[Tool],
    tokens: Collection[str],
    *,
    must: bool = True,
    parallel: bool = True,
    thinks: bool = False,
    opened: bool = False,
) -> str:
    """Calls of these tools, one or several; if there `must` be none, text too. `tokens`: words that are tokens of their
    own in this vocabulary. A model that `thinks` may do so first, and must end it if the prompt has `opened` it."""
    names = " | ".join(f"tool_{index}" for index in range(len(tools)))
    line = '"\\n"' if OPEN[form] else ""
    lines = [
        f"start: {_thought(tokens, opened) if thinks else ''} {_answer(form, must, parallel)}",
        f"call: {_mark(OPEN[form], tokens)} {line} ({names}) {line} {_mark(CLOSE[form], tokens)}",
        *(f"tool_{index}: {_call(form, tool)}" for index, tool in enumerate(tools)),
    ]
    if thinks:
        lines += [_rest_of_thought(tokens), r"gap: /\n{0,4}/"]
    if not must:  # no expression matches a mark that is a token of its own
        lines.append(r"text: /(.|\n)*/" if OPEN[form] else r"text: /([^{\s](.|\n)*)?/")
    return "\n".join(lines)


def frees_text(form: str, tokens: Collection[str]) -> bool:
    """Can text be told from calls? Where a mark is spelled, text may hold it."""
    return form == "llama3" or OPEN[form] in tokens


def _answer(form: str, must: bool, parallel: bool) -> str:
    more = f"({json.dumps(BETWEEN[form])} call)*" if parallel else ""
    if must:
        return f"call {more}"
    if not OPEN[form]:
        return f"(text | call {more})"
    return "text (call text)*" if parallel else "text call?"


def _call(form: str, tool: Tool) -> str:
    head = json.dumps(f'{{"name": "{tool.function.name}", "{ARGUMENTS[form]}": ')
    schema = {"type": "object"} | (tool.function.parameters or {})
    own = schema.get("x-guidance")
    options = WHITESPACE | (own if isinstance(own, dict) else {})
    return f'{head} %json {orjson.dumps(schema | {"x-guidance": options}).decode()} "}}"'


def _thought(tokens: Collection[str], opened: bool) -> str:
    return "thought gap" if opened else f"({_mark('<think>', tokens)} thought gap)?"


def _rest_of_thought(tokens: Collection[str]) -> str:
    """Anything up to its end."""
    if "</think>" in tokens:
        return r"thought: /(.|\n)*/ </think>"
    return r"thought[lazy]: /(.|\n)*<\/think>/"


def _mark(word: str, tokens: Collection[str]) -> str:
    return word if word in tokens else json.dumps(word) if word else ""
