"""The same requests with CUDA graphs and without: the same tokens, greedy ones and drawn ones, in every batch size that
the ends of answers leave. With graphs, whatever waits for the device is an error too. On a CPU both runs are eager.
"""

from random import Random

from shared.types import SamplingParams, TokenIds
from tools.checkpoints import VOCABULARY, build
from tools.gpu_check.engine import open_engine, submits
from tools.gpu_check.engine import run as generate
from tools.gpu_check.job import Failed, Job

REQUESTS, DRY_REQUESTS = 70, 5  # past a captured size, so that some steps are padded


def run(job: Job) -> None:
    kind = job.part
    folder = build(kind, job.folder / kind)
    asks = requests(DRY_REQUESTS if job.settings.dry else REQUESTS)
    answers, graph_steps = [], 0
    for graphs in (False, True):  # the check of the second one holds for the rest of the process
        fields = {"dtype": "float32", "max_num_seqs": len(asks), "max_model_len": 512}
        worker = open_engine(folder, job.card.kind, graphs=graphs, sync_check=graphs, **fields)
        try:
            done = generate(worker, submits(asks))
        finally:
            worker.close()
        answers.append([done.of(f"{n}.0") for n in range(len(asks))])
        graph_steps = int(worker.statistics().get("graph_steps", 0))
    same = sum(one == other for one, other in zip(*answers, strict=True))
    job.row(kind, {"requests": len(asks), "equal": same, "steps from graphs": graph_steps})
    job.say(f"{kind}: {same} of {len(asks)} answers are equal, {graph_steps} steps were replayed")
    if same < len(asks):
        raise Failed("graphs give other tokens")
    if job.card.kind == "cuda" and not graph_steps:
        raise Failed("no step was replayed from a graph")


def requests(count: int) -> list[tuple[TokenIds, SamplingParams]]:
    """Half of them greedy; their ends lie apart, so the batch shrinks one by one."""
    dice = Random(3)
    made = []
    for number in range(count):
        prompt = tuple(dice.randrange(VOCABULARY) for _ in range(dice.randint(1, 120)))
        temperature, top_k = (0.0, 0) if number % 2 else (0.8, (0, 20)[number % 4 // 2])
        sampling = SamplingParams(max_tokens=4 + number, temperature=temperature, top_k=top_k, seed=number)
        made.append((prompt, sampling))
    return made
