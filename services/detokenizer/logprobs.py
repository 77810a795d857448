"""`logprobs` of a choice as OpenAI's API writes them, one form for chats and another for completions (pure)."""

from collections.abc import Iterable, Sequence
from typing import Any

from services.detokenizer.decode import Vocabulary
from services.detokenizer.scores import Scores


def of_chat(scores: Scores, ids: Sequence[int], which: Iterable[int], vocabulary: Vocabulary) -> dict[str, Any]:
    content = [
        _token(ids[index], scores[index].logprob, vocabulary)
        | {
            "top_logprobs": [
                _token(id, logprob, vocabulary)
                for id, logprob in zip(scores[index].ids, scores[index].logprobs, strict=True)
            ]
        }
        for index in which
    ]
    return {"content": content, "refusal": None}


def of_completion(scores: Scores, ids: Sequence[int], which: range, vocabulary: Vocabulary) -> dict[str, Any]:
    """The drawn token is in `top_logprobs` too, even where it is none of the likeliest."""
    names = [vocabulary.legacy_name(ids[index]) for index in which]
    tops = []
    for index, name in zip(which, names, strict=True):
        score = scores[index]
        best = {vocabulary.legacy_name(id): at for id, at in zip(score.ids[::-1], score.logprobs[::-1], strict=True)}
        tops.append(dict(reversed(best.items())) | ({} if name in best else {name: score.logprob}))
    return {
        "tokens": names,
        "token_logprobs": [scores[index].logprob for index in which],
        "top_logprobs": tops,
        "text_offset": [scores.starts[index] for index in which],
    }


def _token(id: int, logprob: float, vocabulary: Vocabulary) -> dict[str, Any]:
    return {"token": vocabulary.name(id), "logprob": logprob, "bytes": list(vocabulary.bytes_of(id))}
