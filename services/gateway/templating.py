"""Renders a checkpoint's chat template, in a process that may be killed at any time (`sandboxed.py`).

A template is a program from elsewhere. Here it runs in Jinja's immutable sandbox, without the environment's secrets. A
question is `{messages, most}`, its answer `{text}`, `{error}` or `{long}` (more than `most` characters). What templates
may use is what Hugging Face gives them: `raise_exception`, `strftime_now`, `tojson`, loop controls, `{% generation %}`.
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

    def render(self, messages: list[dict[str, str]], most: int) -> dict[str, Any]:
        parts: list[str] = []
        length = 0
        for part in self._template.generate(messages=messages, tools=None, documents=None, add_generation_prompt=True):
            length += len(part)
            if length > most:
                return {"long": True}
            parts.append(part)
        return {"text": "".join(parts)}


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
