"""Messages and texts to token ids, never on the loop: templates in processes of their own (`renderers.py`), the
tokenizer in a few threads, no more at once than there are threads.

A chat template writes its own special tokens, so what it renders is encoded without the tokenizer's; the prompt of a
completion gets them, as the tokenizer would add them (both as vLLM does).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerFast

from services.gateway.conversation import reserved
from services.gateway.forms import TEXT_ALONE, Forms, ReasoningParser, ToolParser, forms_of
from services.gateway.grammar import lark_grammar
from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.renderers import PLAIN, Renderers, Template, Variables
from shared.errors import ClientError
from shared.types import TokenIds

T = TypeVar("T")
PROMPT_END = 8  # tokens, enough to see whether a template has opened a thought


class Encoder:
    """Uses the tokenizer only in ways that leave it unchanged, so that its threads need no lock."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        threads: Executor,
        renderers: Renderers,
        tool_parser: ToolParser = "auto",
        reasoning_parser: ReasoningParser = "auto",
    ) -> None:
        self._template, self._tool_template = _template(tokenizer), _template(tokenizer, tools=True)
        self._renderers = renderers
        self._backend = tokenizer.backend_tokenizer
        tokens = frozenset(token.content for token in self._backend.get_added_tokens_decoder().values())
        self.forms = _forms(self._tool_template, tool_parser, reasoning_parser, tokens)
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
            text = await self._chat(body, limits)
            return [await self._in_thread(lambda: self._ids(text, special=False))]
        longest = max((len(prompt) for prompt in body.prompt if isinstance(prompt, str)), default=0)
        limits.check_text(longest, self._longest_token, "prompt")
        return await self._in_thread(lambda: [self._completion(prompt, limits) for prompt in body.prompt])

    async def tokenize(
        self, asked: str | Sequence[Mapping[str, Any]], limits: Limits, *, special: bool
    ) -> tuple[TokenIds, list[str]]:
        """The ids of a text, or of what the template makes of messages, and how the vocabulary writes each. It may be
        more than the model takes; what must be more is refused. Raises ClientError."""
        if isinstance(asked, str):
            limits.check_text(len(asked), self._longest_token, "prompt")
            text = asked
        else:
            limits.check_text(sum(len(message["content"]) for message in asked), self._longest_token, "messages")
            text = await self._render(asked, limits)
        encoding = await self._in_thread(lambda: self._backend.encode(text, add_special_tokens=special))
        return tuple(encoding.ids), encoding.tokens

    def grammar(self, body: ChatBody | CompletionBody, prompt: TokenIds) -> tuple[str, str]:
        """What the answer behind this prompt has to match, and the parameter that asks for it; both "" if it may be
        anything. Raises ClientError for one that is too large."""
        if isinstance(body, ChatBody):
            end = str(self._backend.decode(prompt[-PROMPT_END:], skip_special_tokens=False))
            if calls := self.forms.grammar(body, end):
                param = "tool_choice" if body.forced else "tools"
                return lark_grammar(calls, param), param
        return body.grammar

    async def detokenize(self, ids: TokenIds) -> str:
        return await self._in_thread(lambda: str(self._backend.decode(ids, skip_special_tokens=False)))

    async def banned(self, words: Sequence[str]) -> tuple[TokenIds, ...]:
        """The tokens of these words as they stand at the beginning of a text and behind a space (as vLLM does)."""
        if not words:
            return ()
        texts = [text for word in words for text in (word.lstrip(), f" {word.lstrip()}")]
        found = await self._in_thread(lambda: [self._ids(text, special=False) for text in texts])
        return tuple(dict.fromkeys(ids for ids in found if ids))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _chat(self, body: ChatBody, limits: Limits) -> str:
        self.forms.check(body)
        messages = [message.plain() for message in body.messages]
        limits.check_text(sum(len(message["content"]) for message in messages), self._longest_token, "messages")
        variables = Variables(
            tools=[tool.plain() for tool in body.callable_tools] or None,
            variables=body.variables,
            add_generation_prompt=body.opens_answer,
            continue_final_message=body.continue_final_message,
        )
        return await self._render(messages, limits, variables)

    async def _render(self, messages: Sequence[Mapping[str, Any]], limits: Limits, variables: Variables = PLAIN) -> str:
        """What the template makes of the messages, unless that cannot fit."""
        template = self._tool_template if variables.tools else self._template
        if isinstance(template, ClientError):
            raise template
        for name in variables.variables.keys() & template.names.keys():
            raise reserved(name)
        most = limits.max_model_len * self._longest_token
        text = await self._renderers.render(template, messages, most, variables)
        limits.check_text(most if text is None else len(text), self._longest_token, "messages")
        return text or ""

    def _completion(self, prompt: str | Sequence[int], limits: Limits) -> TokenIds:
        ids = self._ids(prompt, special=True) if isinstance(prompt, str) else tuple(prompt)
        limits.check_prompt(ids, "prompt")
        return ids

    def _ids(self, text: str, *, special: bool) -> TokenIds:
        return tuple(self._backend.encode(text, add_special_tokens=special).ids)


def _template(tokenizer: PreTrainedTokenizerFast, *, tools: bool = False) -> Template | ClientError:
    """The checkpoint's own; some have another one for chats with tools. Requests cannot bring one. Without it only
    completions are served."""
    try:
        source = tokenizer.get_chat_template(tools=[{}] if tools else None)
        return Template(str(source), tokenizer.special_tokens_map)
    except ValueError:
        return ClientError("this model has no chat template: use /v1/completions", param="messages")


def _forms(
    template: Template | ClientError, tool_parser: ToolParser, reasoning_parser: ReasoningParser, tokens: frozenset[str]
) -> Forms:
    if isinstance(template, ClientError):
        return TEXT_ALONE
    return forms_of(template.source, tool_parser, reasoning_parser, tokens)
