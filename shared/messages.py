"""What travels on the bus. Frozen values; `codec.py` is the only file that knows how they look as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from shared.types import FinishReason, Lane, ParentId, RequestId, SamplingParams, Score, TokenIds

PROMPT_TAIL = 8  # tokens before the output that can change how its first token reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """What in a chat's answer is not plain text, and in which form the model writes it."""

    tools: Literal["hermes", "llama3", "none"] = "none"  # calls of tools
    parallel: bool = True  # several calls; else the answer ends with the first
    reasoning: Literal["think", "none"] = "none"
    thinking: bool = False  # the message that the answer goes on with ends within its reasoning
    show_reasoning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSpec:
    """All that the detokenizer needs to write a client's answer without asking anybody."""

    kind: Literal["chat", "completion"]
    model: str  # as the client called it
    created: int  # unix seconds
    stream: bool
    choices: int  # of the parent: n times the number of prompts
    prompt_tokens: int  # of the parent, each prompt counted once
    prompts: int = 1  # of the parent: each has choices / prompts of the choices
    include_usage: bool = False
    continuous_usage: bool = False  # in every chunk, what was used so far
    stop: tuple[str, ...] = ()  # stop strings
    include_stop: bool = False  # what ended the answer, string or token, is shown as far as it is text
    skip_special_tokens: bool = True
    echo: bool = False  # the prompt stands before the answer
    prompt_logprobs: bool = False  # the scores of the prompt are told as such
    markup: Markup | None = None  # None: all of it is text


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One choice of a client's request: the entry in a requests stream.

    It carries its prompt and its output so far, so whoever consumes it prefills both and goes on at offset
    `len(output)` (PROTOCOL, "Words"). In a `Started` record `prompt` holds only what its answer shows of it.
    """

    id: RequestId
    parent_id: ParentId
    index: int  # of the choice within its parent
    prompt: TokenIds
    sampling: SamplingParams
    render: RenderSpec
    shard: int
    gateway: str = ""  # the gateway process that waits for the frames; another one may attach
    output: TokenIds = ()
    scores: tuple[Score, ...] = ()  # one for each id of the output, or none: `sampling.logprobs`
    prompt_scores: tuple[Score, ...] = ()  # of each token of the prompt but the first, once there is an output
    cached: int = 0  # tokens of the prompt that its first engine had computed for others
    attempt: int = 0
    deaths: int = 0  # engines that died while they ran it
    lane: Lane = "interactive"
    tenant: str = ""  # a digest of the API key: engines give tenants turns
    priority: int = 0  # lower runs first, among those of a lane and tenant
    deadline_ms: int | None = None  # absolute, Redis TIME
    arrived_ms: int = 0  # absolute, the gateway's clock; for people and traces only
    unread_s: float | None = None  # it is cancelled once nobody has read it for so long; None: it runs to its end
    cache_salt: str = ""
    traceparent: str | None = None
    sent_ms: float = 0.0  # unix time at which it was queued, or queued again; for people and traces only

    @property
    def unanswered(self) -> "GenerateRequest":
        """As it was before anything was drawn."""
        return replace(self, output=(), scores=(), prompt_scores=())

    @property
    def shown_prompt(self) -> TokenIds:
        """What of the prompt is needed to write the answer: all, if that tells of it, else what can change how the
        first token reads."""
        tells = self.render.echo or self.sampling.prompt_logprobs >= 0
        return self.prompt if tells else self.prompt[-PROMPT_TAIL:]


@dataclass(frozen=True, slots=True)
class Started:
    """An engine took the entry `entry` and goes on at offset `len(request.output)`. Written before any token."""

    entry: str  # id in the requests stream of `request.lane`
    request: GenerateRequest  # its prompt cut to `shown_prompt`


class Tokens(NamedTuple):
    """Made for each token of each request: a tuple costs a third of a frozen dataclass."""

    id: RequestId
    attempt: int
    offset: int  # of the first id within the request's output
    ids: TokenIds
    scores: tuple[Score, ...] = ()  # one for each id, or none
    prompt_scores: tuple[Score, ...] = ()  # of each token of the prompt but the first, at offset 0


@dataclass(frozen=True, slots=True)
class Cached:
    """So many tokens of a prompt were computed before; of first attempts only, and not told if there are none."""

    id: RequestId
    attempt: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    id: RequestId
    attempt: int
    offset: int  # length of the output
    reason: FinishReason
    detail: str = ""  # for `error`: what to tell the client


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The last entry of an executor's token stream: nobody can write behind it (PROTOCOL 6, 7)."""

    drained: bool  # written by the executor itself, which left; else by an owner, who found it dead


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a long request is: as if `started` had been written at `at` of its executor's stream (PROTOCOL 13)."""

    executor: str
    at: str
    started: Started  # its request's output is all that was accepted


Record = Started | Cached | Tokens | Finished | Tombstone


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a request (`RequestId`) or all choices of a parent (`ParentId`)."""

    id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Born:
    """A new executor has created its token streams: owners begin to read them."""

    executor: str


Control = Cancel | Born


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended, kept for late readers: `request.output` is all of it, `text` as the client saw it."""

    request: GenerateRequest
    reason: FinishReason
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What an engine says of itself in its lease."""

    name: str  # the executor: "<engine>.<boot>"
    state: Literal["loading", "ready"]
    message: str = ""  # for people: "reading weights, 3 of 7 files"
    progress: float = 0.0  # 0 to 1 while loading
    url: str = ""
    max_model_len: int = 0  # tokens, prompt and output together
    vocab_size: int = 0  # the width of the logits: ids at or above it are refused
    running: int = 0  # requests
    waiting: int = 0  # taken from a lane and not admitted yet
    waiting_tokens: int = 0  # that these may come to have, prompt and output
    drain_rate: float = 0.0  # requests that leave the queue, a second; 0 before it was measured
    queues: Mapping[str, int] = field(default_factory=dict)  # the longest of what waits, by "lane:tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """What a gateway says of itself in its lease."""

    name: str
    url: str  # of its inside server: several gateways share one public port


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """What the owner of a shard says of itself in its lease."""

    shard: int
    url: str
    instance: str  # nonce of the process: a new one means a new memory
