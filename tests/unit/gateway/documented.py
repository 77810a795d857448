"""The tables of docs/api.md, and what becomes of a body on its way to the bus, without a process or a server."""

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.gateway.defaults import SamplingDefaults
from services.gateway.fanout import Call, Model, fan_out
from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.prompt import Encoder
from services.gateway.renderers import PLAIN, Renderers, Template, Variables
from services.gateway.templating import Renderer
from services.gateway.validation import parse
from shared import tokenizer
from shared.messages import GenerateRequest
from tests.unit.gateway.templates_for_tests import QWEN, with_template

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "api.md"
Endpoint = Literal["chat", "completions"]
ENDPOINTS: Mapping[str, tuple[Endpoint, ...]] = {
    "both": ("chat", "completions"),
    "chat": ("chat",),
    "completions": ("completions",),
}
Key = tuple[Endpoint, str]
_ROW = re.compile(r"^\| `([^`]+)` \| (both|chat|completions) \| (yes|no effect|refused) \| (.+) \|$")


@dataclass(frozen=True, slots=True)
class Row:
    status: str
    text: str

    @property
    def message(self) -> str:
        """Of a refusal."""
        return self.text.split("`")[1]

    @property
    def taken(self) -> list[Any]:
        """What is let through all the same."""
        _, _, values = self.text.partition("; taken: ")
        return [json.loads(value) for value in re.findall("`([^`]+)`", values)]


def rows() -> dict[Key, Row]:
    """Of all tables whose rows are parameters. Each row is one of them: a slip in its form is found."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Parameters\n")[2]
    found: dict[Key, Row] = {}
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        match = _ROW.match(line)
        assert match, line
        name, where, status, text = match.groups()
        for endpoint in ENDPOINTS[where]:
            assert (endpoint, name) not in found, f"{name} has two rows for {endpoint}"
            found[endpoint, name] = Row(status, text)
    return found


def body(endpoint: Endpoint, fields: Mapping[str, Any]) -> ChatBody | CompletionBody:
    """The least that this endpoint takes, and these fields. Raises ClientError."""
    if endpoint == "chat":
        messages = [{"role": "user", "content": "hi"}]
        return parse(ChatBody, json.dumps({"model": "m", "messages": messages, **fields}).encode())
    return parse(CompletionBody, json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


class _InProcess(Renderers):
    """Templates are ours here."""

    async def render(
        self, template: Template, messages: Sequence[Mapping[str, Any]], most: int, variables: Variables = PLAIN
    ) -> str | None:
        told = Renderer(template.source, template.names).render(
            [dict(message) for message in messages],
            most,
            [dict(tool) for tool in variables.tools or ()] or None,
            variables.variables,
            variables.add_generation_prompt,
            variables.continue_final_message,
        )
        return told.get("text")


class Way:
    """From a body to the requests on the bus, for a model that knows tools, reasoning and effort."""

    def __init__(self, checkpoint: Path, folder: Path, threads: ThreadPoolExecutor) -> None:
        own = tokenizer.load(with_template(checkpoint, folder / "checkpoint", QWEN))
        self._encoder = Encoder(own, threads, _InProcess(10.0))
        self._limits = Limits(max_model_len=4096, vocab_size=300)
        self._model = Model(eos=(257,), defaults=SamplingDefaults(), forms=self._encoder.forms)

    async def go(self, endpoint: Endpoint, fields: Mapping[str, Any]) -> tuple[GenerateRequest, ...]:
        asked = body(endpoint, fields)
        prompts = await self._encoder.encode(asked, self._limits)
        banned = await self._encoder.banned(asked.bad_words)
        form, _ = self._encoder.grammar(asked, prompts[0])
        call = Call(parent="p", gateway="g", shards=1, seed=7, now_ms=1, tenant="0123456789ab")
        return fan_out(asked, prompts, self._model, self._limits, call, banned, form)
