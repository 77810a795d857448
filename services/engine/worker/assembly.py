"""A worker around whoever launches its steps; the steps may run anywhere, and nothing here needs torch."""

from services.engine.config import EngineConfig
from services.engine.core.step import RowAdd, RowWork, StepPlan
from services.engine.worker.completion import Job
from services.engine.worker.grammars import Grammars
from services.engine.worker.limits import context
from services.engine.worker.models.config import ModelConfig
from services.engine.worker.pack import Packer
from services.engine.worker.sizes import Sizes
from services.engine.worker.worker import Launcher, Worker
from shared.checkpoint import Progress
from shared.types import SamplingParams


def assemble(
    config: EngineConfig,
    model: ModelConfig,
    sizes: Sizes,
    blocks: int,
    launcher: Launcher,
    grammars: Grammars,
    progress: Progress,
    setup: Job = lambda: None,
) -> Worker:
    """`model` is the whole one, `blocks` are those of its KV cache; `setup` as `Worker` has it. Blocks for a few steps.

    Raises ConfigError if the blocks do not hold what the configuration asks for.
    """
    worker = Worker(
        launcher,
        Packer(-(-sizes.max_model_len // sizes.block_size), model.vocab_size),
        num_blocks=blocks,
        max_model_len=context(config.max_model_len, model.max_model_len, blocks, sizes.block_size),
        vocab_size=model.vocab_size,
        max_num_seqs=sizes.rows,
        max_batched_tokens=sizes.tokens,
        check_grammar=grammars.check,
        setup=setup,
    )
    progress("warming up", 1.0)
    worker.warm_up(*_warm_up_plans())
    progress("ready", 1.0)
    return worker


def _warm_up_plans() -> tuple[StepPlan, ...]:
    """A prefill and a decode step in row 0 and block 0, sampled and greedy; the first request there overwrites them."""
    plans: list[StepPlan] = []
    for temperature in (1.0, 0.0):
        sampling = SamplingParams(max_tokens=2, temperature=temperature, top_k=2 if temperature else 0)
        add = RowAdd(0, (0, 0), 2, (0,), sampling)
        gone = (0,) if plans else ()
        plans.append(StepPlan(len(plans), gone, (add,), (), (RowWork(0, 0, 2, False),)))
        plans.append(StepPlan(len(plans), (), (), (), (RowWork(0, 1, 1, True),)))
    return tuple(plans)
