"""From a checkpoint's directory to a worker that is ready: what it runs on, in which dtype, with how much memory."""

import os
from pathlib import Path

import torch

from services.engine.config import EngineConfig
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker import kv_cache, weights
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.link import CudaLink, HostLink
from services.engine.worker.models import Decoder, ModelConfig, model_config
from services.engine.worker.pack import Packer
from services.engine.worker.runner import Runner
from services.engine.worker.worker import Worker
from shared.checkpoint import Progress, read_config
from shared.errors import ConfigError
from shared.types import SamplingParams

SMALL = 100_000_000  # parameters: up to here `--dtype auto` is float32 on a CPU
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_worker(config: EngineConfig, folder: Path, progress: Progress = lambda message, share: None) -> Worker:
    """Load the checkpoint in `folder` as `config` says. Blocks; `progress` is called from the same thread.

    Raises ConfigError in one line for what is not supported, broken, or does not fit.
    """
    model = model_config(read_config(folder))
    device = _device(config.device)
    dtype = _dtype(config.dtype, model, device)
    max_model_len = _max_model_len(config.max_model_len, model)
    decoder = Decoder(model, Parameters(device, dtype))
    weights.load(folder, decoder.parameters.places, tied=model.tied, progress=progress)
    blocks = config.kv_blocks or kv_cache.num_blocks(
        model, config.block_size, config.max_num_seqs, max_model_len, memory=kv_cache.spare_memory(device), dtype=dtype
    )
    if blocks * config.block_size < max_model_len:
        if config.max_model_len:
            raise ConfigError(
                f"--max-model-len {max_model_len} needs {-(-max_model_len // config.block_size)} blocks of the KV"
                f" cache, there are {blocks}; raise --kv-blocks or lower --max-model-len"
            )
        max_model_len = blocks * config.block_size
    runner = Runner(
        decoder,
        CudaLink(device, config.max_num_seqs) if device.type == "cuda" else HostLink(),
        rows=config.max_num_seqs,
        max_model_len=max_model_len,
        num_blocks=blocks,
        block_size=config.block_size,
    )
    worker = Worker(runner, Packer(runner.table_width, model.vocab_size), threads=config.threads or _threads())
    worker.warm_up(*_warm_up_plans())
    progress("ready", 1.0)
    return worker


def _device(asked: str) -> torch.device:
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise ConfigError("--device cuda: this machine or this build of torch has no CUDA device")
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def _dtype(asked: str, model: ModelConfig, device: torch.device) -> torch.dtype:
    if asked == "auto":
        asked = "float32" if device.type == "cpu" and model.num_parameters <= SMALL else model.dtype
    if asked not in DTYPES:
        raise ConfigError(f"model: dtype {asked} is not supported; choose --dtype {' or '.join(DTYPES)}")
    return DTYPES[asked]


def _max_model_len(asked: int, model: ModelConfig) -> int:
    if asked > model.max_model_len:
        raise ConfigError(f"--max-model-len {asked} is more than the checkpoint allows: {model.max_model_len}")
    return asked or model.max_model_len


def _threads() -> int:
    """One core is left to the loop, which plans while a step runs: two that share a core wait for each other."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _warm_up_plans() -> tuple[StepPlan, StepPlan]:
    """A prefill and a decode step in row 0 and block 0; the first request there overwrites both."""
    sampling = SamplingParams(max_tokens=2, temperature=1.0, top_k=2)
    add = RowAdd(0, (0, 0), 2, (0,), sampling)
    first = StepPlan(0, (), (add,), (), (RowWork(0, 0, 2, False),))
    return first, StepPlan(1, (), (), (), (RowWork(0, 1, 1, True),))
