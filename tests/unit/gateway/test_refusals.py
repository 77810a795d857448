"""Parameters that are known and not taken: refused with a reason, let through where they ask for nothing."""

import json
from typing import Any

import pytest

from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.refusals import CHAT, COMPLETION, Refusal
from services.gateway.validation import parse
from shared.errors import ClientError

BODIES: dict[type[ChatBody] | type[CompletionBody], dict[str, Any]] = {
    ChatBody: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    CompletionBody: {"model": "m", "prompt": "hi"},
}
CASES = [
    (kind, name, refusal)
    for kind, table in ((ChatBody, CHAT), (CompletionBody, COMPLETION))
    for name, refusal in table.items()
]


def parsed(kind: type[ChatBody] | type[CompletionBody], **fields: Any) -> ChatBody | CompletionBody:
    data = json.dumps(BODIES[kind] | fields).encode()
    return parse(ChatBody, data) if kind is ChatBody else parse(CompletionBody, data)


@pytest.mark.parametrize(("kind", "name", "refusal"), CASES)
def test_a_value_that_would_change_something_is_refused_with_its_reason(
    kind: type[ChatBody] | type[CompletionBody], name: str, refusal: Refusal
) -> None:
    """And one that changes nothing is as good as none, as is null."""
    for value in ("something", {"a": 1}, 2, True not in refusal.harmless):
        with pytest.raises(ClientError) as refused:
            parsed(kind, **{name: value})
        assert refused.value.message == f"{name} is not taken: {refusal.why}"
        assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")
    for value in (*refusal.harmless, None):
        assert parsed(kind, **{name: value}) == parsed(kind)


def test_nothing_is_both_taken_and_refused() -> None:
    for kind, table in ((ChatBody, CHAT), (CompletionBody, COMPLETION)):
        assert not table.keys() & kind.model_fields.keys()


def test_true_is_not_one() -> None:
    """JSON's booleans are no numbers: a harmless 1 does not let `true` through."""
    with pytest.raises(ClientError):
        parsed(CompletionBody, best_of=True)
