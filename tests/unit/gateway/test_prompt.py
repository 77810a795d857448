"""Text to token ids with the checkpoint's own tokenizer and template."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from services.gateway import prompt
from services.gateway.defaults import SamplingDefaults, read_defaults
from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.prompt import Encoder
from services.gateway.renderers import Renderers, renderers
from services.gateway.validation import parse
from shared import tokenizer
from shared.errors import ClientError, ConfigError
from shared.types import TokenIds
from tests.unit.gateway.conftest import BOS, EOS

LIMITS = Limits(max_model_len=64, vocab_size=300)


async def test_a_completions_prompt_gets_the_tokenizers_special_tokens(encoder: Encoder) -> None:
    body = parse(CompletionBody, b'{"model":"m","prompt":["ab","c"]}')
    assert await encoder.encode(body, LIMITS) == [(BOS, 97, 98), (BOS, 99)]


async def test_ids_are_taken_as_they_are(encoder: Encoder) -> None:
    body = parse(CompletionBody, b'{"model":"m","prompt":[[1,2],[3]]}')
    assert await encoder.encode(body, LIMITS) == [(1, 2), (3,)]


async def test_a_chat_has_one_bos_and_that_is_the_templates(encoder: Encoder) -> None:
    body = parse(ChatBody, b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert await encoder.encode(body, LIMITS) == [(BOS, ord("u"), ord("x"), EOS, ord("a"))]


async def test_no_prompt_is_cut_although_the_tokenizers_file_asks_for_it(encoder: Encoder) -> None:
    """A `truncation` left in a published tokenizer.json would lose the user's words without a word."""
    body = parse(CompletionBody, orjson.dumps({"model": "m", "prompt": "x" * 50}))
    assert [len(prompt) for prompt in await encoder.encode(body, LIMITS)] == [51]


async def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of a few megabytes would keep a thread for seconds. The longest token here, `<bos>`, has 5 characters."""
    monkeypatch.setattr(prompt, "BRIEF", 0)
    threads = ThreadPoolExecutor(1)
    pool = Renderers(10.0)
    encoder = Encoder(tokenizer.load(checkpoint), threads, pool)
    threads.shutdown()  # so whatever reaches them fails
    for length, refused in ((64 * 5, ClientError), (60 * 5, RuntimeError)):  # what the template adds has its room
        for body in (
            parse(CompletionBody, orjson.dumps({"model": "m", "prompt": [[1], "a", "x" * length]})),
            parse(ChatBody, orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * length}]})),
        ):
            with pytest.raises(refused) as refusal:
                await encoder.encode(body, LIMITS)
            if isinstance(refusal.value, ClientError):
                assert refusal.value.code == "context_length_exceeded"
                assert "64 tokens" in refusal.value.message and "at least 65 tokens" in refusal.value.message
    await pool.close()


async def test_only_what_is_brief_keeps_the_loop(checkpoint: Path) -> None:
    """It would take longer to wake a thread."""
    threads = ThreadPoolExecutor(1)
    pool = Renderers(10.0)
    encoder, limits = Encoder(tokenizer.load(checkpoint), threads, pool), Limits(65536, 1024)
    threads.shutdown()  # so whatever reaches them fails
    brief, longer, many = (
        parse(CompletionBody, orjson.dumps({"model": "m", "prompt": text}))
        for text in ("x" * prompt.BRIEF, "x" * (prompt.BRIEF + 1), ["x"] * 9)
    )
    assert [len(ids) for ids in await encoder.encode(brief, limits)] == [prompt.BRIEF + 1]
    for body in (longer, many):
        with pytest.raises(RuntimeError):
            await encoder.encode(body, limits)
    await pool.close()


async def test_the_first_prompt_that_does_not_fit_ends_the_work(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many prompts, each a little too long, cost as much as one."""
    tokenized: list[str] = []

    def ids(text: str, *, special: bool) -> TokenIds:
        tokenized.append(text)
        return (5,) * (len(text) + special)

    monkeypatch.setattr(encoder, "_ids", ids)
    body = parse(CompletionBody, orjson.dumps({"model": "m", "prompt": ["x" * 62, *["x" * 63] * 255]}))
    with pytest.raises(ClientError, match="64 tokens"):
        await encoder.encode(body, LIMITS)
    assert [len(text) for text in tokenized] == [62, 63]


async def test_what_the_template_refuses_is_the_clients_error(encoder: Encoder) -> None:
    body = parse(ChatBody, b'{"model":"m","messages":[{"role":"assistant","content":"x"}]}')
    with pytest.raises(ClientError, match="an assistant cannot begin") as refusal:
        await encoder.encode(body, LIMITS)
    assert refusal.value.param == "messages"


async def test_a_template_that_fails_is_no_server_error(checkpoint: Path) -> None:
    """Templates are programs from elsewhere: whatever they do, the request is answered 400."""
    own = tokenizer.load(checkpoint)
    with ThreadPoolExecutor(1) as threads:
        for template in ("{{ 1 / 0 }}", "{{ messages.__class__.__mro__ }}", "{{ nothing.at.all }}", "{% for %}"):
            own.chat_template = template
            with pytest.raises(ClientError) as refusal:
                async with renderers(10.0) as pool:
                    body = parse(ChatBody, b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
                    await Encoder(own, threads, pool).encode(body, LIMITS)
            assert refusal.value.param == "messages"


def test_the_checkpoint_says_how_to_sample(checkpoint: Path) -> None:
    assert read_defaults(checkpoint) == SamplingDefaults(temperature=0.5, top_k=20)


def test_without_a_generation_config_openais_defaults_hold(tmp_path: Path) -> None:
    assert read_defaults(tmp_path) == SamplingDefaults()
    (tmp_path / "generation_config.json").write_bytes(b'{"temperature": null, "do_sample": true}')
    assert read_defaults(tmp_path) == SamplingDefaults()


@pytest.mark.parametrize("text", [b'{"temperature": "hot"}', b'{"temperature": -1}', b"{", b"[]"])
def test_a_generation_config_that_makes_no_sense_stops_the_start(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "generation_config.json").write_bytes(text)
    with pytest.raises(ConfigError, match="generation_config"):
        read_defaults(tmp_path)
