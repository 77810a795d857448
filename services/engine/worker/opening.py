"""From a checkpoint's directory to a worker that is ready: what it runs on, in which dtype, with how much memory."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from kernels.rope import rope_table
from services.engine.config import EngineConfig
from services.engine.worker import kv_cache, weights
from services.engine.worker.assembly import assemble
from services.engine.worker.device import Device, HostDevice
from services.engine.worker.grammars import Grammars
from services.engine.worker.group import Alone, Group, Ranks
from services.engine.worker.layers.ops import Ops, cpu_ops, triton_ops
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.layers.rope import frequencies
from services.engine.worker.masks import Matchers, Source
from services.engine.worker.models.config import ModelConfig, model_config
from services.engine.worker.models.decoder import Decoder
from services.engine.worker.ranks import BroadcastMasks, BroadcastRunner, RankProcesses
from services.engine.worker.runner import Program, Runner
from services.engine.worker.sizes import Sizes, sizes
from services.engine.worker.threads import Threads
from services.engine.worker.worker import Launcher, Worker
from shared.checkpoint import Progress, read_config
from shared.errors import ConfigError

SMALL = 100_000_000  # parameters: up to here `--dtype auto` is float32 on a CPU
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PATIENCE = timedelta(minutes=5)  # with another rank that is slower to load


def _silently(message: str, share: float | None) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One rank's share of an engine."""

    runner: Runner
    model: ModelConfig  # the whole one
    sizes: Sizes
    blocks: int  # of the KV cache, the same on every rank
    threads: int


def open_worker(
    config: EngineConfig, folder: Path, progress: Progress = _silently, device: Device | None = None
) -> Worker:
    """A worker whose first rank is this process: `apart.open_apart` is the other way. Blocks until it has loaded the
    checkpoint in `folder`; `progress` is called from the same thread.

    `device` is given by tests; else it is what `config.device` means here. Raises ConfigError in one line for what is
    not supported, broken, or does not fit.
    """
    model = model_config(read_config(folder))
    grammars = Grammars(folder, model.vocab_size)
    matchers = Matchers(grammars, model.vocab_size)
    if config.tensor_parallel == 1:
        opened = open_rank(config, folder, 0, matchers, None, progress, device)
        return _around(opened.runner, config, opened, grammars, progress)
    model.of_rank(config.tensor_parallel)
    with TemporaryDirectory(prefix="sluice-ranks-") as private:
        others = RankProcesses(config, folder, Path(private) / "meeting", first=1)
        try:
            masks = BroadcastMasks(matchers, others)
            opened = open_rank(config, folder, 0, masks, Path(private) / "meeting", progress, device)
            worker = _around(BroadcastRunner(opened.runner, others), config, opened, grammars, progress)
        except BaseException:
            others.close()
            raise
    others.watch(worker.fail)
    return worker


def open_rank(
    config: EngineConfig,
    folder: Path,
    rank: int,
    masks: Source,
    meeting: Path | None,
    progress: Progress = _silently,
    device: Device | None = None,
) -> Opened:
    """What every rank does, in the same order: load its part, rehearse, take memory, capture.

    Ranks find each other by the file `meeting`; without one there is only this.
    """
    model = model_config(read_config(folder))
    device = _device(config.device, rank) if device is None else device
    group: Group = Alone() if meeting is None else Ranks(rank, config.tensor_parallel, meeting, device.torch, PATIENCE)
    dtype = _dtype(config.dtype, model, device)
    asked = sizes(config, model.max_model_len, on_card=device.fused)
    decoder = _load(config, folder, model, Parameters(device.torch, dtype, _ops(device, dtype, model), group), progress)
    rope = rope_table(frequencies(model.rope, model.head_dim).to(device.torch), asked.max_model_len, dtype)
    open_program = _fused if device.fused else _plain
    program, blocks = open_program(config, asked, decoder, rope, device, progress)
    if config.sync_check:
        device.forbid_waiting()
    runner = Runner(device, program, group, masks, rows=asked.rows)
    return Opened(runner, model, asked, blocks, _threads(config, model).few)


def _around(launcher: Launcher, config: EngineConfig, opened: Opened, grammars: Grammars, progress: Progress) -> Worker:
    setup = partial(torch.set_num_threads, opened.threads)
    return assemble(config, opened.model, opened.sizes, opened.blocks, launcher, grammars, progress, setup)


def _ops(device: Device, dtype: torch.dtype, model: ModelConfig) -> Ops:
    return triton_ops() if device.fused else cpu_ops(dtype, model.num_parameters)


def _load(
    config: EngineConfig, folder: Path, model: ModelConfig, parameters: Parameters, progress: Progress
) -> Decoder:
    decoder = Decoder(model, parameters)
    if config.load_format == "dummy":
        weights.fill_randomly(decoder.parameters.places)
    else:
        weights.load(folder, decoder.parameters.places, tied=model.tied, progress=progress)
    parameters.loaded()
    return decoder


def _plain(
    config: EngineConfig, asked: Sizes, decoder: Decoder, rope: Tensor, device: Device, progress: Progress
) -> tuple[Program, int]:
    """For the host: the KV cache takes a share of the memory that is free."""
    from services.engine.worker.plain import PlainProgram  # Numba: for CPUs only

    held = decoder.config.num_parameters * rope.dtype.itemsize
    blocks = config.kv_blocks or kv_cache.num_blocks(
        decoder.config,
        asked.block_size,
        asked.rows,
        asked.max_model_len,
        memory=kv_cache.spare_host_memory(held, config.tensor_parallel),
        dtype=rope.dtype,
    )
    blocks = decoder.parameters.group.least(blocks)
    caches = kv_cache.allocate(decoder.config, blocks, asked.block_size, device=device.torch, dtype=rope.dtype)
    program = PlainProgram(
        decoder,
        caches,
        rope,
        _threads(config, decoder.config),
        rows=asked.rows,
        max_model_len=asked.max_model_len,
        block_size=asked.block_size,
    )
    return program, blocks


def _threads(config: EngineConfig, model: ModelConfig) -> Threads:
    return Threads(config.threads, model.num_parameters, config.tensor_parallel)


def _fused(
    config: EngineConfig, asked: Sizes, decoder: Decoder, rope: Tensor, device: Device, progress: Progress
) -> tuple[Program, int]:
    """For a card: the largest steps are rehearsed over a cache of one block, and what they leave is the cache's.

    The first decode step says how much memory captured steps keep to themselves: they share that of the largest.
    """
    from services.engine.worker.fused import FusedProgram, capture_sizes  # Triton: for cards only

    model, dtype = decoder.config, rope.dtype
    caches = kv_cache.allocate(model, 1, asked.block_size, device=device.torch, dtype=dtype)
    program = FusedProgram(
        decoder, caches, rope, device, rows=asked.rows, max_model_len=asked.max_model_len, block_size=asked.block_size
    )
    blocks = config.kv_blocks
    if not blocks:
        progress("rehearsing the largest step", 0.0)
        before = device.memory().most_taken
        device.main.run(lambda: program.rehearse(asked.rows, asked.rows))
        captured = device.memory().most_taken - before if config.graphs else 0
        device.main.run(lambda: program.rehearse(asked.tokens, asked.rows))
        spare = kv_cache.spare_card_memory(device.memory(), config.gpu_memory_utilization, captured)
        blocks = kv_cache.num_blocks(
            model, asked.block_size, asked.rows, asked.max_model_len, memory=spare, dtype=dtype
        )
    blocks = decoder.parameters.group.least(blocks)
    caches[:] = kv_cache.allocate(model, blocks, asked.block_size, device=device.torch, dtype=dtype)
    device.main.run(program.compile_rare)
    if config.graphs:
        program.capture(capture_sizes(asked.rows), progress)
    return program, blocks


def _device(asked: str, index: int) -> Device:
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise ConfigError("--device cuda: this machine or this build of torch has no CUDA device")
    if not available or asked == "cpu":
        return HostDevice()
    from services.engine.worker.cuda import CudaDevice  # torch.cuda wakes the driver

    return CudaDevice(index)


def _dtype(asked: str, model: ModelConfig, device: Device) -> torch.dtype:
    if asked == "auto":
        asked = "float32" if not device.fused and model.num_parameters <= SMALL else model.dtype
    if asked not in DTYPES:
        raise ConfigError(f"model: dtype {asked} is not supported; choose --dtype {' or '.join(DTYPES)}")
    return DTYPES[asked]
