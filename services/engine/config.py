"""What an engine can be told."""

import math
import socket
from dataclasses import dataclass
from typing import Literal

from shared.errors import ConfigError
from shared.settings import CommonConfig, option


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(CommonConfig):
    engine_name: str = option("", "name of this engine; the host's name if empty")
    device: Literal["auto", "cpu", "cuda", "sim"] = option(
        "auto", "where the model runs; auto takes a GPU if there is one, sim computes nothing and takes a GPU's time"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "auto is float32 on a CPU for models up to 100 M parameters, else the checkpoint's"
    )
    max_model_len: int = option(0, "tokens of prompt and output together; 0 is what the checkpoint allows")
    max_num_seqs: int = option(0, "requests that run at once; 0 is 64 on a CPU, 256 on a GPU")
    max_waiting: int = option(512, "requests taken from the bus to wait here, where API keys are given turns")
    max_batched_tokens: int = option(0, "tokens computed in one step; 0 is 512 on a CPU, 8192 on a GPU")
    block_size: int = option(16, "tokens in one block of the KV cache")
    kv_blocks: int = option(0, "blocks in the KV cache; 0 sizes it by the memory that is free")
    gpu_memory_utilization: float = option(0.9, "share of a GPU's memory that weights, steps and KV cache may take")
    graphs: bool = option(True, "on a GPU, replay decode steps from CUDA graphs")
    sync_check: bool = option(False, "on a GPU, whatever makes a step wait for the device is an error; for debugging")
    load_format: Literal["safetensors", "dummy"] = option("safetensors", "dummy: random weights, to measure speed")
    tensor_parallel: int = option(1, "processes, each with a device of its own, that compute the model together")
    prefix_caching: bool = option(True, "reuse the blocks of equal prompt prefixes")
    scheduling: Literal["async", "sync"] = option("async", "async plans the next step while one runs; sync waits")
    worker_state: Literal["stateful", "stateless"] = option(
        "stateful", "stateful sends the worker what changed; stateless sends everything each step"
    )
    worker: Literal["auto", "process", "thread"] = option(
        "auto",
        "where steps are computed: in a process of their own or in a thread of the engine; auto: a process on a CPU, "
        "a thread with a GPU",
    )
    threads: int = option(0, "CPU threads of one operation; 0: all cores for large steps, one less for small ones")
    trace_steps: int = option(100, "of so many steps one is exported as a trace of its own; 0: none")
    step_timeout_s: float = option(
        60.0, "a step that takes longer makes the engine unready and its requests go on elsewhere; 0: never"
    )
    host: str = option("127.0.0.1", "address of the engine's own HTTP server: /health, /ready, /metrics, /debug")
    port: int = option(0, "its port; 0 takes any free one")
    advertise_host: str = option("", "the host name others reach that server by; the value of --host if empty")
    internal_token: str = option("", "secret that gateways show to see /debug/spans; the same for all services")
    sim_bandwidth: float = option(4.3, "device sim: TB/s the card reads; the default is an H200, as measured")
    sim_flops: float = option(790.0, "device sim: TFLOP/s of its matrix products; an H200, as measured in bfloat16")
    sim_memory: float = option(141.0, "device sim: GB of its memory")
    sim_overhead_us: float = option(500.0, "device sim: microseconds of a step whatever is in it (250 kernels of 2 us)")
    sim_speed: float = option(1.0, "device sim: how many times faster than all this")
    sim_tokens_per_second: float = option(0.0, "device sim: a set rate of drawn tokens, all rows together, instead")
    sim_stop_probability: float = option(0.0, "device sim: that a drawn token is the request's stop id; 0 to 1")
    sim_words: Literal["text", "clock"] = option(
        "text",
        "device sim: what it draws; clock: numbers that count 250 us of this machine's monotonic clock and say when "
        "their step ended, not the same on an engine that goes on with a request",
    )

    def __post_init__(self) -> None:
        for field in ("sim_bandwidth", "sim_flops", "sim_memory", "sim_speed"):
            if not 0 < getattr(self, field) < math.inf:
                raise ConfigError(f"--{field.replace('_', '-')} must be more than 0, not {getattr(self, field)}")
        for field in ("sim_overhead_us", "sim_tokens_per_second", "step_timeout_s"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(f"--{field.replace('_', '-')} must not be negative: {getattr(self, field)}")
        if not 0 <= self.sim_stop_probability <= 1:
            raise ConfigError(f"--sim-stop-probability must be 0 to 1, not {self.sim_stop_probability}")
        for field in ("block_size", "tensor_parallel"):
            if getattr(self, field) < 1:
                raise ConfigError(f"--{field.replace('_', '-')} must be at least 1, not {getattr(self, field)}")
        if self.worker == "process" and self.device in ("cuda", "sim"):
            raise ConfigError(f"--worker process is for CPUs, not for --device {self.device}")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ConfigError(
                f"--gpu-memory-utilization must lie above 0 and not above 1: {self.gpu_memory_utilization}"
            )
        for field in (
            "max_num_seqs",
            "max_batched_tokens",
            "max_model_len",
            "kv_blocks",
            "threads",
            "max_waiting",
            "trace_steps",
        ):
            if getattr(self, field) < 0:
                raise ConfigError(f"--{field.replace('_', '-')} must not be negative: {getattr(self, field)}")

    @property
    def engine(self) -> str:
        return self.engine_name or socket.gethostname()
