"""The program that renders a checkpoint's chat template: a process of its own, which may be killed at any time.

A template is a program from elsewhere. Here it runs in Jinja's immutable sandbox, without the environment's secrets,
within a limit of memory and of processor time; `renderers.py` beside it keeps the time on the wall. It reads lines of
JSON: first `{template, names, memory, cpu_s}`, then for each chat what `Renderer.render` takes, answered by one line of
`{text}`, `{error}` or `{long}` (more than `most` characters). What templates may use is what Hugging Face gives them:
`raise_exception`, `strftime_now`, `tojson`, loop controls and `{% generation %}`.
"""

import json
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_ERROR = 300  # characters of what a template says
HARD = resource.RLIM_INFINITY
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


def _answer(renderer: Renderer | str, line: bytes) -> dict[str, Any]:
    if isinstance(renderer, str):
        return {"error": renderer}
    try:
        return renderer.render(**orjson.loads(line))
    except MemoryError:
        return {"error": "it needs too much memory"}
    except RecursionError:
        return {"error": "it is nested too deeply"}
    except Exception as error:  # it may raise anything
        return {"error": str(error)[:MOST_ERROR] or type(error).__name__}


def _opened(template: str, names: Mapping[str, Any]) -> Renderer | str:
    """The renderer, or what is wrong with the template."""
    try:
        return Renderer(template, names)
    except Exception as error:
        return str(error)[:MOST_ERROR] or type(error).__name__


def _limit(kind: int, soft: int) -> None:
    with suppress(ValueError, OSError):  # not every system has each of them
        resource.setrlimit(kind, (soft, HARD))


def main() -> None:
    first = orjson.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_AS, first["memory"])
    renderer = _opened(first["template"], first["names"])
    while line := sys.stdin.buffer.readline():
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + first["cpu_s"])  # if nobody is left to kill us
        sys.stdout.buffer.write(orjson.dumps(_answer(renderer, line), default=str) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
