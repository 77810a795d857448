"""The words every service shares: what a request may ask of sampling, and how it may end. Standard library only."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

RequestId = str  # of one choice: "<parent id>.<index>"
ParentId = str  # of what the client asked for: unguessable, the client's X-Request-Id
TokenIds = tuple[int, ...]
Lane = Literal["interactive", "batch"]

LANES: tuple[Lane, ...] = ("interactive", "batch")  # in the order in which engines read them

MAX_CHOICES = 1024  # of one client request: n times the number of prompts
MAX_STOP_IDS = 320  # of one request: what a client may name and those of the model
MAX_LOGIT_BIAS = 1024  # ids of one request whose logits are changed
MAX_ALLOWED_IDS = 1024  # ids of one request that alone may be drawn
MAX_BANNED, MAX_BANNED_IDS = 256, 1024  # sequences of one request that may not come up, and ids of all of them
MAX_TOP_LOGPROBS = 20  # ids told beside a drawn one
MAX_LISTED = MAX_STOP_IDS + 2 * MAX_LOGIT_BIAS + MAX_ALLOWED_IDS + 3 * MAX_BANNED + MAX_BANNED_IDS  # see `lists_of`


class FinishReason(StrEnum):
    """Why a request ended. `stop` and `length` are what OpenAI's clients know; the others never reach them as such."""

    STOP = "stop"  # a stop id (the engine) or a stop string (the detokenizer)
    LENGTH = "length"  # max_tokens or the model's context is used up
    CANCEL = "cancel"  # the client has gone or asked for it
    ERROR = "error"  # this request failed; the others did not notice
    TIMEOUT = "timeout"  # its deadline has passed


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a token was, and which were the likeliest in its place: of the model's own distribution, whatever
    steers the draw."""

    logprob: float  # natural logarithm, at least LEAST_LOGPROB
    rank: int  # 1: none was likelier
    ids: TokenIds = ()  # the likeliest first
    logprobs: tuple[float, ...] = ()


LEAST_LOGPROB = -9999.0  # what stands for less, as JSON has no infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is drawn. The draw depends on (seed, position) only, never on what else is in the batch.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off; penalties are off at 0, 0 and 1.
    `stop_ids` end the request (EOS among them unless the client ignores it); they cannot be drawn before `min_tokens`.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    stop_ids: TokenIds = ()
    grammar: str = ""  # what the output must match, as llguidance reads it; "": anything
    bias_ids: TokenIds = ()
    biases: tuple[float, ...] = ()  # added to the logits of `bias_ids`, one for each
    allowed_ids: TokenIds = ()  # nothing else may be drawn; anything may if it is empty
    logprobs: int = -1  # how many of the likeliest ids are told beside each drawn one's own score; -1: not even that
    prompt_logprobs: int = -1  # the same of each token of the prompt but the first
    banned: tuple[TokenIds, ...] = ()  # where the output ends with all of one but its last id, that may not be drawn

    def stops_at(self, token: int, index: int) -> bool:
        """Does output token number `index` (from 0) end the request? Engine and detokenizer ask here, so they agree."""
        return index >= self.min_tokens and token in self.stop_ids

    @property
    def penalised(self) -> bool:
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0)


def parent_id(prefix: str, second: int, nonce: str) -> ParentId:
    """`nonce`: 24 hexadecimal digits (96 bits) that nobody can guess, behind the unix time that tells an old id from
    one that never was."""
    return f"{prefix}-{second:08x}{nonce}"


def made_at_s(parent: ParentId) -> int:
    """When the id of a client's request was made, unix seconds; 0 for a text that `parent_id` does not write."""
    digits = parent.rpartition("-")[2][:8]
    return int(digits, 16) if len(digits) == 8 and all(digit in "0123456789abcdef" for digit in digits) else 0


def request_id(parent: ParentId, index: int) -> RequestId:
    return f"{parent}.{index}"
