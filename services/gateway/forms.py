"""What the served checkpoint's chat template knows: the form of calls and of reasoning, and the variables it reads.

The template's text tells which form its model was trained on; flags say otherwise where it does not.
"""

from dataclasses import dataclass
from typing import Literal

from services.gateway.callgrammar import MARKS, call_grammar, frees_text
from services.gateway.openai import ChatBody
from shared.errors import ClientError
from shared.messages import Markup

ToolForm = Literal["hermes", "llama3", "none"]
ReasoningForm = Literal["think", "none"]
ToolParser = Literal["auto", "hermes", "llama3", "none"]
ReasoningParser = Literal["auto", "think", "none"]


@dataclass(frozen=True, slots=True)
class Forms:
    tools: ToolForm = "none"
    reasoning: ReasoningForm = "none"
    takes_tools: bool = False  # the template has a variable for them
    takes_effort: bool = False
    tokens: frozenset[str] = frozenset()  # those of MARKS that are tokens of their own in the vocabulary

    def check(self, chat: ChatBody) -> None:
        """Nothing of a chat that this model would not heed passes. Raises ClientError."""
        if chat.callable_tools:
            self._check_tools(chat)
        if chat.reasoning_effort is not None and not self.takes_effort:
            raise _refusal("reasoning_effort", "the chat template of this model does not know it")

    def _check_tools(self, chat: ChatBody) -> None:
        if not self.takes_tools:
            raise _refusal("tools", "the chat template of this model does not know them")
        if self.tools == "none":
            raise _refusal(
                "tools", "the form of this model's calls is not known (--tool-parser); tool_choice may be none"
            )
        if not (chat.forced or frees_text(self.tools, self.tokens)):
            for index, tool in enumerate(chat.callable_tools):
                if tool.function.strict:
                    where = f"tools.{index}.function.strict"
                    raise _refusal(where, "this vocabulary has no mark that tells a call from text: send false")
        if chat.grammar[0]:
            raise _refusal(chat.grammar[1], "it leaves no room for the calls of tools; tool_choice may be none")

    def markup(self, chat: ChatBody) -> Markup | None:
        """What to look for in the answer; None: all of it is text."""
        tools = self.tools if chat.callable_tools else "none"
        if tools == self.reasoning == "none":
            return None
        return Markup(
            tools=tools,
            parallel=chat.parallel_tool_calls,
            reasoning=self.reasoning,
            thinking=chat.continue_final_message and _within_reasoning(chat.messages[-1].text),
            show_reasoning=chat.include_reasoning,
        )

    def grammar(self, chat: ChatBody, prompt_end: str) -> str:
        """What the answer has to match, in Lark's form, so that there is a call where there must be one, and strict
        tools are called by their schemas; "" if it may be anything."""
        if not (chat.forced or any(tool.function.strict for tool in chat.callable_tools)):
            return ""
        return call_grammar(
            self.tools,
            chat.wanted_tools,
            self.tokens,
            must=chat.forced,
            parallel=chat.parallel_tool_calls and len(chat.wanted_tools) == len(chat.callable_tools),
            thinks=self.reasoning == "think",
            opened=prompt_end.rstrip().endswith("<think>"),
        )


TEXT_ALONE = Forms()


def forms_of(
    template: str,
    tool_parser: ToolParser = "auto",
    reasoning_parser: ReasoningParser = "auto",
    tokens: frozenset[str] = frozenset(),
) -> Forms:
    """Of a checkpoint with this template, and these tokens beside the words of its vocabulary."""
    tools = _tool_form(template) if tool_parser == "auto" else tool_parser
    thinks = "<think>" in template or "</think>" in template
    reasoning = ("think" if thinks else "none") if reasoning_parser == "auto" else reasoning_parser
    return Forms(tools, reasoning, "tools" in template, "reasoning_effort" in template, tokens & MARKS)


def _tool_form(template: str) -> ToolForm:
    """Within the marks of Hermes some write something else than JSON, and Llama 3.2 has lost its mark."""
    if "<tool_call>" in template:
        return "none" if "<function=" in template or "<arg_key>" in template else "hermes"
    if "<|python_tag|>" in template or ("<|start_header_id|>" in template and '"parameters"' in template):
        return "llama3"
    return "none"


def _within_reasoning(text: str) -> bool:
    return text.rfind("<think>") > text.rfind("</think>")


def _refusal(param: str, why: str) -> ClientError:
    return ClientError(f"{param} cannot be used: {why}", param=param, code="unsupported_parameter")
