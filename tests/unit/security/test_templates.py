"""Chat templates run in processes that may be killed (DESIGN 7; vLLM's CVE-2025-62426 and CVE-2026-115911)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway import renderers as renderers_module
from services.gateway.renderers import MOST_PROCESSES, Renderers, Template, Variables, renderers
from shared import tokenizer
from shared.errors import ClientError

CHAT = [{"role": "user", "content": "hi"}]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
SLOW_IF_ASKED = "{% if messages[0].content == 'slow' %}" + ENDLESS + "{% endif %}{{ messages[0].content }}"
MOST = 1000


@pytest.fixture
async def pool() -> AsyncIterator[Renderers]:
    async with renderers(20.0) as made:
        yield made


async def test_a_template_renders_as_hugging_face_renders_it(pool: Renderers, checkpoint: Path) -> None:
    """Loop controls, `generation`, `tojson`, trimmed blocks and the special tokens: character for character."""
    own = tokenizer.load(checkpoint)
    sources = (
        str(own.chat_template),
        "{% for m in messages %}\n    {% if loop.index > 1 %}{% break %}{% endif %}\n{{ m | tojson }}\n{% endfor %}",
        "{% generation %}{{ bos_token }}{{ messages[0].content }}{% endgeneration %} <b>&{{ '<&>' }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{{ messages[0].content | trim | upper }}{% if tools %}tools{% endif %}{{ dict(a=1) | tojson(indent=2) }}",
        "{{ strftime_now('%Y') }}{% if add_generation_prompt %}>{% endif %}",
    )
    chat = [{"role": "user", "content": " hé <b>\n"}, {"role": "user", "content": "🐝"}]
    for source in sources:
        theirs = own.apply_chat_template(chat, chat_template=source, tokenize=False, add_generation_prompt=True)
        assert await pool.render(Template(source, own.special_tokens_map), chat, MOST) == theirs


async def test_tools_variables_and_a_continued_message_render_as_hugging_face_renders_them(
    pool: Renderers, checkpoint: Path
) -> None:
    """Whether the template keeps the blanks at the end of a message or drops them, and writes a turn's end or not."""
    own = tokenizer.load(checkpoint)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": None, "b": "<é>"}}}]
    chat = [{"role": "user", "content": " hé \n"}, {"role": "assistant", "content": " so it \n "}]
    for content in ("m.content", "m.content | trim"):
        source = (
            "{% for m in messages %}<{{ m.role }}>{{ " + content + " }}<end>{% endfor %}"
            "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{{ thinking }}"
            "{% if add_generation_prompt %}>{% endif %}"
        )
        theirs = own.apply_chat_template(chat, tools, chat_template=source, tokenize=False, thinking="yes")
        ours = Variables(tools, {"thinking": "yes"}, add_generation_prompt=False)
        assert await pool.render(Template(source, {}), chat, MOST, ours) == theirs
        theirs = own.apply_chat_template(chat, chat_template=source, tokenize=False, continue_final_message=True)
        going_on = Variables(add_generation_prompt=False, continue_final_message=True)
        assert await pool.render(Template(source, {}), chat, MOST, going_on) == theirs


async def test_a_final_message_that_the_template_changes_cannot_be_continued(pool: Renderers) -> None:
    going_on = Variables(add_generation_prompt=False, continue_final_message=True)
    for source in ("nothing of it", "{{ messages[-1].content | upper }}", "{{ messages[-1].content[2:] }}"):
        with pytest.raises(ClientError, match="cannot be continued"):
            await pool.render(Template(source, {}), CHAT, MOST, going_on)


async def test_no_variable_of_a_client_takes_the_place_of_the_chat(pool: Renderers) -> None:
    """Whatever slips through the gateway: messages and tools are ours."""
    given = {"messages": [], "tools": [1], "documents": [1], "add_generation_prompt": False}
    source = "{{ messages[0].content }}{{ tools }}{{ documents }}{{ add_generation_prompt }}"
    assert await pool.render(Template(source, {}), CHAT, MOST, Variables(variables=given)) == "hiNoneNoneTrue"


async def test_an_endless_template_fails_its_request_and_its_process_is_gone() -> None:
    async with renderers(0.5) as pool:
        with pytest.raises(ClientError, match="longer than") as refusal:
            await pool.render(Template(ENDLESS, {}), CHAT, MOST)
    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (400, "template_timeout", "messages")
    assert pool.statistics() == {"idle": 0, "started": 1, "killed": 1}


async def test_while_one_request_loops_others_are_rendered(pool: Renderers) -> None:
    """The slow one holds its own process and nobody else's."""
    template = Template(SLOW_IF_ASKED, {})
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(pool.render(template, [{"role": "user", "content": "slow"}], MOST))
        await asyncio.sleep(0)
        assert [await pool.render(template, CHAT, MOST) for _ in range(3)] == ["hi"] * 3
        assert not slow.done()
        slow.cancel()


@pytest.mark.parametrize(
    "source", ["{{ 'x' * 10 ** 10 }}", "{% set x = ['x' * 10 ** 6] * 10 ** 8 %}", "{{ ('%0' ~ 10 ** 10 ~ 'd') % 1 }}"]
)
async def test_a_memory_bomb_fails_its_request_only(pool: Renderers, source: str) -> None:
    """It gets no more addresses than its limit; the next chat is rendered."""
    with pytest.raises(ClientError, match="the chat template refused the messages"):
        await pool.render(Template(source, {}), CHAT, MOST)
    assert await pool.render(Template("{{ messages[0].content }}", {}), CHAT, MOST) == "hi"


async def test_what_a_template_writes_is_bounded_before_it_is_all_written(pool: Renderers) -> None:
    """A template that multiplies its messages cannot make work for the tokenizer."""
    source = "{% for a in range(99999) %}{{ messages[0].content * 100 }}{% endfor %}"
    assert await pool.render(Template(source, {}), CHAT, MOST) is None


async def test_the_sandbox_shows_no_way_out_and_no_secret(pool: Renderers) -> None:
    """SGLang's CVE-2026-5760: dunder attributes, files and imports are out of reach; the environment is empty."""
    for source in (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__.items() }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.environ }}",
        "{{ messages.append(1) }}",
    ):
        with pytest.raises(ClientError):
            await pool.render(Template(source, {}), CHAT, MOST)


async def test_a_client_that_leaves_while_its_chat_renders_costs_a_process_and_nothing_else(pool: Renderers) -> None:
    """What was cut off in the middle is never used again: its answer would be taken for the next one's."""
    template = Template(SLOW_IF_ASKED, {})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await pool.render(template, [{"role": "user", "content": "slow"}], MOST)
    assert await pool.render(template, CHAT, MOST) == "hi"
    assert pool.statistics()["killed"] == 1


async def test_no_more_processes_than_may_run_and_few_that_wait(pool: Renderers) -> None:
    chats = [pool.render(Template("{{ messages[0].content }}", {}), CHAT, MOST) for _ in range(2 * MOST_PROCESSES)]
    assert await asyncio.gather(*chats) == ["hi"] * len(chats)
    assert pool.statistics()["idle"] == renderers_module.KEPT_PROCESSES
