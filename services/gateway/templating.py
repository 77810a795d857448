"""Renders a checkpoint's chat template, in a process that may be killed at any time (`sandboxed.py`).

A template is a program from elsewhere. Here it runs in Jinja's immutable sandbox, without the environment's secrets. A
question is what `Renderer.render` takes, its answer `{text}`, `{error}` or `{long}` (more than `most` characters). What
templates may use is what Hugging Face gives them: `raise_exception`, `strftime_now`, `tojson`, loop controls and
`{% generation %}`.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARK = "\ue000the end of the final message\ue000"


class Generation(Extension):
    """`{% generation %}` marks what a model wrote, for training; here it is only its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return str(caller())


class Renderer:
    """One compiled template. `names` are the special tokens it knows by name."""

    def __init__(self, template: str, names: Mapping[str, Any]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now} | dict(names)
        self._template = environment.from_string(template)

    def render(
        self,
        messages: list[dict[str, Any]],
        most: int,
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,  # the client's own; ours go before them
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> dict[str, Any]:
        final = messages[-1]["content"] if continue_final_message else ""
        if continue_final_message:
            most += len(MARK) + 1
            messages = [*messages[:-1], messages[-1] | {"content": f"{final}{MARK} "}]
        ours = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": add_generation_prompt}
        parts: list[str] = []
        length = 0
        for part in self._template.generate(dict(variables or {}) | ours):
            length += len(part)
            if length > most:
                return {"long": True}
            parts.append(part)
        text = "".join(parts)
        return {"text": _up_to_mark(text, final) if continue_final_message else text}


def _up_to_mark(text: str, final: str) -> str:
    """The text up to where the final message ends; its last blanks go if the template has dropped those behind the
    mark (all as transformers does it)."""
    end = text.rfind(MARK)
    if end < 0 or final.strip() not in text:
        raise TemplateError("the final message does not stand in it as it was given, so it cannot be continued")
    return text[:end] if text.startswith(" ", end + len(MARK)) else text[:end].rstrip()


def _refuse(message: object) -> None:
    raise TemplateError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def opened(template: str, names: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """Raises whatever is wrong with the template."""
    return Renderer(template, names).render
