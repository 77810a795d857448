"""The chat templates of two families in miniature: what they do with tools, calls, answers of tools and reasoning."""

from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import orjson

QWEN = """
{%- if tools %}
    {{- '[system]You may call:' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\nas <tool_call>{"name": ..., "arguments": ...}</tool_call>.' }}
{%- endif %}
{%- for m in messages %}
    {{- '[' + m.role + ']' }}
    {%- if m.reasoning_content %}{{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
    {{- m.content | trim }}
    {%- for call in m.tool_calls or [] %}
        {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
        {{- '}\\n</tool_call>' }}
    {%- endfor %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
    {%- if reasoning_effort %}{{- '(' + reasoning_effort + ')' }}{%- endif %}
{%- endif %}"""

LLAMA = """
{{- bos_token }}
{%- for m in messages %}
    {%- if m.tool_calls %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson + '}' }}
    {%- else %}
        {{- '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>' + m.content }}
    {%- endif %}
{%- endfor %}
{%- for tool in tools or [] %}{{- tool | tojson }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>' }}{%- endif %}"""

PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": ["string", "null"], "default": None}}},
    },
}


def with_template(checkpoint: Path, folder: Path, template: object) -> Path:
    """A checkpoint like that one, with another chat template."""
    copytree(checkpoint, folder)
    names = folder / "tokenizer_config.json"
    names.write_bytes(orjson.dumps(orjson.loads(names.read_bytes()) | {"chat_template": template}))
    return folder
