"""Messages and texts to token ids, never on the loop: templates in processes of their own (`renderers.py`), the
tokenizer in a few threads, no more at once than there are threads.

A chat template writes its own special tokens, so what it renders is encoded without the tokenizer's; the prompt of a
completion gets them, as the tokenizer would add them (both as vLLM does).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from transformers import PreTrainedTokenizerFast

from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.renderers import Renderers, Template
from shared.errors import ClientError
from shared.types import TokenIds

T = TypeVar("T")


class Encoder:
    """Uses the tokenizer only in ways that leave it unchanged, so that its threads need no lock."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, threads: Executor, renderers: Renderers) -> None:
        self._template = _template(tokenizer)
        self._renderers = renderers
        self._backend = tokenizer.backend_tokenizer
        # A tokenizer.json may ask for both, which is for training.
        self._backend.no_truncation()
        self._backend.no_padding()
        self._longest_token = max(map(len, self._backend.get_vocab(with_added_tokens=True)))  # characters
        self._threads = threads

    async def encode(self, body: ChatBody | CompletionBody, limits: Limits) -> list[TokenIds]:
        """The prompts, in order; the first that does not fit ends the work.

        Raises ClientError for that one, or if the chat template refuses the messages.
        """
        if isinstance(body, ChatBody):
            messages = [message.plain() for message in body.messages]
            limits.check_text(sum(len(message["content"]) for message in messages), self._longest_token, "messages")
            text = await self._render(messages, limits)
            return [await self._in_thread(lambda: self._ids(text, special=False))]
        longest = max((len(prompt) for prompt in body.prompt if isinstance(prompt, str)), default=0)
        limits.check_text(longest, self._longest_token, "prompt")
        return await self._in_thread(lambda: [self._completion(prompt, limits) for prompt in body.prompt])

    async def banned(self, words: Sequence[str]) -> tuple[TokenIds, ...]:
        """The tokens of these words as they stand at the beginning of a text and behind a space (as vLLM does)."""
        if not words:
            return ()
        texts = [text for word in words for text in (word.lstrip(), f" {word.lstrip()}")]
        found = await self._in_thread(lambda: [self._ids(text, special=False) for text in texts])
        return tuple(dict.fromkeys(ids for ids in found if ids))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _render(self, messages: Sequence[dict[str, str]], limits: Limits) -> str:
        """What the template makes of the messages, unless that cannot fit."""
        if isinstance(self._template, ClientError):
            raise self._template
        most = limits.max_model_len * self._longest_token
        text = await self._renderers.render(self._template, messages, most)
        limits.check_text(most if text is None else len(text), self._longest_token, "messages")
        return text or ""

    def _completion(self, prompt: str | Sequence[int], limits: Limits) -> TokenIds:
        ids = self._ids(prompt, special=True) if isinstance(prompt, str) else tuple(prompt)
        limits.check_prompt(ids, "prompt")
        return ids

    def _ids(self, text: str, *, special: bool) -> TokenIds:
        return tuple(self._backend.encode(text, add_special_tokens=special).ids)


def _template(tokenizer: PreTrainedTokenizerFast) -> Template | ClientError:
    """The checkpoint's own; requests cannot bring one. Without it only completions are served."""
    try:
        return Template(str(tokenizer.get_chat_template()), tokenizer.special_tokens_map)
    except ValueError:
        return ClientError("this model has no chat template: use /v1/completions", param="messages")
