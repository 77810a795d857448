"""What an engine can be told."""

import socket
from dataclasses import dataclass
from typing import Literal

from shared.errors import ConfigError
from shared.settings import CommonConfig, option


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(CommonConfig):
    engine_name: str = option("", "name of this engine; the host's name if empty")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where the model runs; auto takes a GPU if there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "auto is float32 on a CPU for models up to 100 M parameters, else the checkpoint's"
    )
    max_model_len: int = option(0, "tokens of prompt and output together; 0 is what the checkpoint allows")
    max_num_seqs: int = option(64, "requests that run at once")
    max_waiting: int = option(32, "requests taken from the bus beyond those that run")
    max_batched_tokens: int = option(1024, "tokens computed in one step")
    block_size: int = option(16, "tokens in one block of the KV cache")
    kv_blocks: int = option(0, "blocks in the KV cache; 0 sizes it by the memory that is free")
    prefix_caching: bool = option(True, "reuse the blocks of equal prompt prefixes")
    scheduling: Literal["async", "sync"] = option("async", "async plans the next step while one runs; sync waits")
    worker_state: Literal["stateful", "stateless"] = option(
        "stateful", "stateful sends the worker what changed; stateless sends everything each step"
    )
    threads: int = option(0, "CPU threads of one operation; 0 decides by the machine")
    host: str = option("127.0.0.1", "address of the engine's own HTTP server: /health, /ready, /metrics")
    port: int = option(0, "its port; 0 takes any free one")
    advertise_host: str = option("", "the host name others reach that server by; the value of --host if empty")

    def __post_init__(self) -> None:
        for field in ("max_num_seqs", "max_batched_tokens", "block_size"):
            if getattr(self, field) < 1:
                raise ConfigError(f"--{field.replace('_', '-')} must be at least 1, not {getattr(self, field)}")
        for field in ("max_model_len", "kv_blocks", "threads", "max_waiting"):
            if getattr(self, field) < 0:
                raise ConfigError(f"--{field.replace('_', '-')} must not be negative: {getattr(self, field)}")

    @property
    def engine(self) -> str:
        return self.engine_name or socket.gethostname()
