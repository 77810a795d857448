"""What an operator may tell the gateway."""

from dataclasses import dataclass
from typing import Literal

from services.gateway.cors import origins
from services.gateway.rates import MOST_RATE, Quota
from shared.errors import ConfigError
from shared.settings import CommonConfig, option

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(CommonConfig):
    host: str = option("127.0.0.1", "address to listen on; beyond loopback set an API key too")
    port: int = option(8000, "port to listen on; 0 takes any free one")
    reuse_port: bool = option(False, "share the port with other gateways on this machine (SO_REUSEPORT)")
    ops_host: str = option(
        "127.0.0.1", "address of the gateway's inside server: /health, /ready, /metrics, /debug/spans"
    )
    ops_port: int = option(0, "its port; 0 takes any free one")
    advertise_host: str = option("", "the host name others reach that server by; the value of --ops-host if empty")
    api_key: str = option("", "keys a client may show as `Authorization: Bearer KEY`, separated by commas")
    api_keys_file: str = option(
        "", "file with a key a line (`name sha256:<hex>`, then settings of its own), read again when it changes"
    )
    key_requests_per_minute: int = option(0, "requests that one API key may make a minute; 0: no limit")
    key_tokens_per_minute: int = option(0, "tokens, prompt and output, that one API key may use a minute; 0: no limit")
    key_concurrent: int = option(0, "requests that one API key may have in progress at once; 0: no limit")
    tls_cert: str = option("", "file with the certificate (PEM, the whole chain) to serve HTTPS with")
    tls_key: str = option("", "file with the private key of --tls-cert (PEM)")
    tls_client_ca: str = option("", "file with the certificates that sign those of clients, who then need one")
    internal_token: str = option("", "secret that the detokenizers ask for; the same for all services")
    max_open_requests: int = option(1024, "requests in progress at once; one more is answered 429")
    max_connections: int = option(8192, "connections at once; one more is closed")
    max_body_bytes: int = option(4 * 1024 * 1024, "size of a request body; a larger one is answered 413")
    max_queued_requests: int = option(512, "requests that wait for all engines together; one more is answered 429")
    max_queued_tokens: int = option(
        16 * 1024 * 1024, "tokens, prompt and most output, of all that wait; what would be beyond is answered 429"
    )
    queue_share: float = option(0.75, "share of that queue which the requests of one API key may fill")
    request_timeout_s: float = option(
        600.0,
        "time a request may take, waiting included; clients may ask for less (`timeout`), then it is answered 504",
    )
    body_timeout_s: float = option(
        30.0, "time a client may take to send its body, and a new connection to send its first request"
    )
    keep_alive_s: float = option(10.0, "silence on a stream after which a comment is sent")
    stall_timeout_s: float = option(120.0, "time a client may leave a write unread before it is cut off")
    mailbox_frames: int = option(64, "frames kept for a slow client; beyond them they are dropped and asked for again")
    tokenizer_threads: int = option(2, "threads that tokenize")
    template_timeout_s: float = option(5.0, "time the chat template may take for a request; then it is answered 400")
    grammar_timeout_s: float = option(5.0, "time the check of a request's grammar may take; then it is answered 400")
    grace_s: float = option(5.0, "time that running requests may take to end when the gateway is stopped")
    orphan_s: float = option(15.0, "time a request may run for a client whose gateway died and who reads it nowhere")
    idempotency_s: float = option(3600.0, "time for which an Idempotency-Key is remembered")
    cors_origins: str = option("", "origins of web pages that may call, separated by commas; * for any")
    tool_parser: Literal["auto", "hermes", "llama3", "none"] = option(
        "auto", "how the model writes calls of tools; auto: as its chat template tells"
    )
    reasoning_parser: Literal["auto", "think", "none"] = option(
        "auto", "how the model marks its reasoning; auto: as its chat template tells"
    )
    sampling_defaults: Literal["model", "openai"] = option(
        "model", "who fills in sampling parameters that a client leaves out: generation_config.json, or OpenAI's values"
    )

    def __post_init__(self) -> None:
        """Raises ConfigError naming the option that cannot work."""
        for name in (
            "shards",
            "max_queued_requests",
            "max_queued_tokens",
            "max_open_requests",
            "max_connections",
            "max_body_bytes",
            "mailbox_frames",
            "tokenizer_threads",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.queue_share <= 1:
            raise ConfigError(f"queue_share must lie above 0 and not above 1, not {self.queue_share}")
        for name in (
            "request_timeout_s",
            "body_timeout_s",
            "keep_alive_s",
            "stall_timeout_s",
            "template_timeout_s",
            "grammar_timeout_s",
            "orphan_s",
            "idempotency_s",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0, not {getattr(self, name)}")
        for name in ("key_requests_per_minute", "key_tokens_per_minute", "key_concurrent"):
            if not 0 <= getattr(self, name) <= MOST_RATE:
                raise ConfigError(f"{name} must lie between 0 and {MOST_RATE}, not {getattr(self, name)}")
        if bool(self.tls_cert) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_cert):
            raise ConfigError("tls_cert and tls_key belong together, and tls_client_ca needs both")
        origins(self.cors_origins)
        for name in ("port", "ops_port"):
            if not 0 <= getattr(self, name) < 65536:
                raise ConfigError(f"{name} must lie between 0 and 65535, not {getattr(self, name)}")
        if not _is_loopback(self.ops_host) and not self.internal_token:
            raise ConfigError(f"internal_token is needed, as ops_host {self.ops_host} is not loopback")

    @property
    def api_keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.api_key.split(",") if key.strip())

    @property
    def quota(self) -> Quota:
        """What a key may ask that has no settings of its own."""
        return Quota(self.key_requests_per_minute, self.key_tokens_per_minute, self.key_concurrent)

    @property
    def exposed(self) -> bool:
        """Can others than this machine reach it?"""
        return not _is_loopback(self.host)


def _is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")
