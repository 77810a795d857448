"""`logprobs` of a choice as OpenAI's API writes them, one form for chats and another for completions (pure)."""

from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any

from services.detokenizer.decode import Vocabulary
from services.detokenizer.scores import UNKNOWN
from services.detokenizer.session import Session
from shared.types import Score


def of_chat(choice: Session, which: Iterable[int]) -> dict[str, Any]:
    assert choice.scores is not None
    scored = [(choice.ids[at], choice.scores[at]) for at in which]
    return {"content": [_with_top(id, score, choice.vocabulary) for id, score in scored], "refusal": None}


def _with_top(id: int, score: Score, vocabulary: Vocabulary) -> dict[str, Any]:
    best = zip(score.ids, score.logprobs, strict=True)
    top = [_token(one, logprob, vocabulary) for one, logprob in best]
    return _token(id, score.logprob, vocabulary) | {"top_logprobs": top}


def of_completion(choice: Session, which: range, echo: bool) -> dict[str, Any]:
    """Of these tokens of the output, behind those of the prompt if that is told with them. The drawn token is in
    `top_logprobs` too, even where it is none of the likeliest."""
    assert choice.scores is not None
    before, vocabulary = len(choice.echo.text) if choice.echo else 0, choice.vocabulary
    rows: list[tuple[int, Score | None, int]] = [
        (choice.ids[at], choice.scores[at], before + choice.scores.starts[at]) for at in which
    ]
    if echo and choice.echo:
        rows = [*zip(choice.echo.ids, (None, *_of_prompt(choice)), choice.echo.starts, strict=True), *rows]
    return {
        "tokens": [vocabulary.legacy_name(id) for id, _, _ in rows],
        "token_logprobs": [score and score.logprob for _, score, _ in rows],
        "top_logprobs": [score and _top(id, score, vocabulary) for id, score, _ in rows],
        "text_offset": [start for _, _, start in rows],
    }


def of_prompt(choice: Session) -> list[dict[str, Any] | None]:
    """As vLLM writes them: of each token but the first it and the likeliest in its place, by id."""
    scored = zip(choice.request.prompt[1:], _of_prompt(choice), strict=True)
    return [None, *(_by_id(id, score, choice.vocabulary) for id, score in scored)]


def _by_id(id: int, score: Score, vocabulary: Vocabulary) -> dict[str, Any]:
    best = zip(score.ids, score.logprobs, range(1, len(score.ids) + 1), strict=True)
    rows = [(id, score.logprob, score.rank), *(row for row in best if row[0] != id)]
    return {
        str(one): {"logprob": logprob, "rank": rank, "decoded_token": vocabulary.name(one)}
        for one, logprob, rank in rows
    }


def _of_prompt(choice: Session) -> list[Score]:
    """One for each token but the first."""
    return list(islice(chain(choice.request.prompt_scores, repeat(UNKNOWN)), len(choice.request.prompt) - 1))


def _top(id: int, score: Score, vocabulary: Vocabulary) -> dict[str, float]:
    """Of ids that read alike the likeliest; the token itself is among them."""
    best: dict[str, float] = {}
    for one, logprob in (*zip(score.ids, score.logprobs, strict=True), (id, score.logprob)):
        best.setdefault(vocabulary.legacy_name(one), logprob)
    return best


def _token(id: int, logprob: float, vocabulary: Vocabulary) -> dict[str, Any]:
    return {"token": vocabulary.name(id), "logprob": logprob, "bytes": list(vocabulary.bytes_of(id))}
