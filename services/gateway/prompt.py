"""Messages and texts to token ids, in a few threads: never on the loop, and no more at once than there are threads.

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
from shared.errors import ClientError
from shared.types import TokenIds

T = TypeVar("T")


class Encoder:
    """Uses the tokenizer only in ways that leave it unchanged, so that its threads need no lock."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, threads: Executor) -> None:
        self._tokenizer = tokenizer
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
            return [await self._in_thread(lambda: self._chat(messages))]
        longest = max((len(prompt) for prompt in body.prompt if isinstance(prompt, str)), default=0)
        limits.check_text(longest, self._longest_token, "prompt")
        return await self._in_thread(lambda: [self._completion(prompt, limits) for prompt in body.prompt])

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _chat(self, messages: Sequence[dict[str, str]]) -> TokenIds:
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the checkpoint's: it may raise anything
            raise ClientError(f"the chat template refused the messages: {error}", param="messages") from None
        return self._ids(str(text), special=False)

    def _completion(self, prompt: str | Sequence[int], limits: Limits) -> TokenIds:
        ids = self._ids(prompt, special=True) if isinstance(prompt, str) else tuple(prompt)
        limits.check_prompt(ids, "prompt")
        return ids

    def _ids(self, text: str, *, special: bool) -> TokenIds:
        return tuple(self._backend.encode(text, add_special_tokens=special).ids)
