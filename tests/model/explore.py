"""Many schedules, on all processors: seeds in, what went wrong out."""

import gc
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from tests.model.ablations import ABLATIONS, MENDED
from tests.model.faults import Scenario
from tests.model.programs import installed
from tests.model.world import World

BATCH = 20  # schedules that one worker runs before it tells


@dataclass(frozen=True, slots=True)
class Job:
    """Schedules of these seeds, in a scenario; `without` names an ablation, "" for none."""

    scenario: Scenario
    seeds: tuple[int, ...]
    without: str = ""
    until_first: bool = False


def run(job: Job) -> dict[int, str]:
    """What went wrong, by seed."""
    logging.disable()
    removed = (ABLATIONS | MENDED)[job.without].removed if job.without else nullcontext
    found: dict[int, str] = {}
    gc.disable()  # finalizers would run at moments of their own
    try:
        with removed(), installed():
            for seed in job.seeds:
                if what := World(seed, job.scenario).run():
                    found[seed] = what
                    if job.until_first:
                        break
    finally:
        gc.enable()
        gc.collect()
    return found


def replay(seed: int, scenario: Scenario, without: str = "") -> tuple[str, list[str]]:
    """What went wrong, and the whole schedule."""
    for name in ("sluice", "services"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).propagate = False
    removed = (ABLATIONS | MENDED)[without].removed if without else nullcontext
    with removed(), installed():
        world = World(seed, scenario, log=True)
        log = world.log
        what = world.run()
    return what, log or []


def explore(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[int, str]]]:
    """In no particular order."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_told, jobs)


def _told(job: Job) -> tuple[Job, dict[int, str]]:
    return job, run(job)


def batches(scenario: Scenario, first: int, count: int, without: str = "") -> list[Job]:
    seeds = range(first, first + count)
    return [Job(scenario, tuple(seeds[start : start + BATCH]), without) for start in range(0, count, BATCH)]
