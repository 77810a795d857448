"""Messages and texts to token ids: templates in processes of their own (`renderers.py`), the tokenizer in a few
threads, no more at once than there are threads. Only what is brief is encoded on the loop: to wake a thread costs more.

A chat template writes its own special tokens, so what it renders is encoded without the tokenizer's; the prompt of a
completion gets them, as the tokenizer would add them (both as vLLM does).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from services.gateway.conversation import reserved
from services.gateway.forms import TEXT_ALONE, Forms, ReasoningParser, ToolParser, forms_of
from services.gateway.grammar import lark_grammar
from services.gateway.limits import Limits
from services.gateway.openai import ChatBody, CompletionBody, least_output
from services.gateway.renderers import Renderers, Template, Variables
from services.gateway.truncation import check_text, cut, kept_tokens, most_characters
from shared.errors import ClientError
from shared.types import TokenIds

T = TypeVar("T")
BRIEF = 512  # characters, which take a tokenizer less than half a millisecond
EACH = 64  # characters that take as long as what a further prompt costs by itself
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
        added = self._backend.get_added_tokens_decoder()
        tokens = frozenset(token.content for token in added.values())
        self._spaced = _spaced(self._backend, {id: token.content for id, token in added.items() if token.special})
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
        self._check_spaces(body)
        kept = kept_tokens(body.truncate_prompt_tokens, least_output(body), limits)
        if isinstance(body, ChatBody):
            text = await self._chat(body, limits)
            special = bool(body.add_special_tokens)
            return [await self._encoded(len(text), lambda: cut(self._ids(text, special=special), kept))]
        longest = max((len(prompt) for prompt in body.prompt if isinstance(prompt, str)), default=0)
        self._check_text(longest, limits, "prompt", cuts=kept is not None)
        special = body.add_special_tokens is not False
        work = partial(self._completion, limits=limits, special=special, kept=kept)
        length = sum(map(len, body.prompt)) + EACH * (len(body.prompt) - 1)
        return await self._encoded(length, lambda: [work(prompt) for prompt in body.prompt])

    async def tokenize(self, asked: str | ChatBody, limits: Limits, *, special: bool) -> tuple[TokenIds, list[str]]:
        """The ids of a text, or of what the template makes of a chat, and how the vocabulary writes each. It may be
        more than the model takes; what must be more is refused. Raises ClientError."""
        if isinstance(asked, str):
            self._check_text(len(asked), limits, "prompt")
            text = asked
        else:
            text = await self._chat(asked, limits)
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

    async def _encoded(self, length: int, work: Callable[[], T]) -> T:
        """`length`: in characters, or ids, and EACH for a further prompt."""
        return work() if length <= BRIEF else await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _chat(self, body: ChatBody, limits: Limits) -> str:
        self.forms.check(body)
        messages = [message.plain() for message in body.messages]
        variables = Variables(
            tools=[tool.plain() for tool in body.callable_tools] or None,
            variables=body.variables,
            add_generation_prompt=body.opens_answer,
            continue_final_message=body.continue_final_message,
        )
        return await self._render(messages, limits, variables, cuts=body.truncate_prompt_tokens is not None)

    async def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        limits: Limits,
        variables: Variables,
        *,
        cuts: bool = False,
    ) -> str:
        """What the template makes of the messages, unless that cannot fit, nor be cut if it may be."""
        self._check_text(sum(len(message["content"]) for message in messages), limits, "messages", cuts=cuts)
        template = self._tool_template if variables.tools else self._template
        if isinstance(template, ClientError):
            raise template
        for name in variables.variables.keys() & template.names.keys():
            raise reserved(name)
        most = most_characters(self._longest_token, limits, cuts=cuts)
        text = await self._renderers.render(template, messages, most, variables)
        self._check_text(most + 1 if text is None else len(text), limits, "messages", cuts=cuts)
        return text or ""

    def _check_text(self, characters: int, limits: Limits, param: str, *, cuts: bool = False) -> None:
        check_text(characters, self._longest_token, limits, param, cuts=cuts)

    def _check_spaces(self, body: ChatBody | CompletionBody) -> None:
        if self._spaced and not body.spaces_between_special_tokens:
            param = "spaces_between_special_tokens"
            message = f"{param} must be true: the decoder of this model's tokenizer writes them"
            raise ClientError(message, param=param, code="unsupported_parameter")

    def _completion(self, prompt: str | Sequence[int], limits: Limits, *, special: bool, kept: int | None) -> TokenIds:
        ids = cut(self._ids(prompt, special=special) if isinstance(prompt, str) else tuple(prompt), kept)
        limits.check_prompt(ids, "prompt")
        return ids

    def _ids(self, text: str, *, special: bool) -> TokenIds:
        return tuple(self._backend.encode(text, add_special_tokens=special).ids)


def _spaced(backend: Tokenizer, specials: Mapping[int, str]) -> bool:
    """Does its decoder write spaces between special tokens? None does that we know from a served family."""
    pair = list(specials)[:2]
    return str(backend.decode(pair, skip_special_tokens=False)) != "".join(specials[id] for id in pair)


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
