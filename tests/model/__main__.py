"""Random schedules of the production state machines: who runs next, what goes wrong, and whether the promises hold.

    python -m tests.model --schedules 20000                 # seeds 0 to 19999
    python -m tests.model --seed 4711 --replay              # one schedule, with all that happened
    python -m tests.model --ablate                          # take each rule away in turn: each must fail
    python -m tests.model --without fence --seed 12 --replay

Exit status 1 if something failed that should not, or passed that should not.
"""

import argparse
import os
import sys
import time
from dataclasses import replace

from tests.model.ablations import ABLATIONS, MENDED
from tests.model.explore import Job, batches, explore, replay
from tests.model.faults import ALL, SCENARIOS, Scenario


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--schedules", type=int, default=500, help="how many, of each scenario")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append", help="all of them if not given")
    parser.add_argument("--faults", help=f"instead of a scenario's, of {','.join(ALL)},rollback,poison")
    parser.add_argument("--without", choices=sorted(ABLATIONS | MENDED), default="", help="a rule to take away")
    parser.add_argument("--ablate", action="store_true", help="take each rule away in turn")
    parser.add_argument("--replay", action="store_true", help="print the schedule of --seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.ablate:
        return _ablate(args.processes, args.seed)
    names = args.scenario or ([(ABLATIONS | MENDED)[args.without].scenario] if args.without else sorted(SCENARIOS))
    scenarios = {name: _scenario(name, args.faults) for name in names}
    if args.replay:
        return _replay(args.seed, next(iter(scenarios.values())), args.without)
    return sum(_explore(name, one, args) for name, one in scenarios.items()) > 0


def _scenario(name: str, faults: str | None) -> Scenario:
    return replace(SCENARIOS[name], faults=tuple(faults.split(","))) if faults else SCENARIOS[name]


def _replay(seed: int, scenario: Scenario, without: str) -> int:
    what, log = replay(seed, scenario, without)
    print("\n".join(log))
    print(f"seed {seed}: {what or 'all is well'}")
    return bool(what)


def _explore(name: str, scenario: Scenario, args: argparse.Namespace) -> int:
    began_s, failed = time.monotonic(), 0
    for _, found in explore(batches(scenario, args.seed, args.schedules, args.without), args.processes):
        failed += len(found)
        for seed, what in sorted(found.items()):
            print(f"FAIL  {name} seed {seed}: {what}", flush=True)
    took_s = time.monotonic() - began_s
    print(f"{name}: {args.schedules} schedules, {failed} failed, {took_s:.1f} s", flush=True)
    return failed


def _ablate(processes: int, first: int) -> int:
    """One line for each rule: which seed shows that it is needed."""
    jobs = [Job(SCENARIOS[one.scenario], one.seeds(first), name, until_first=True) for name, one in ABLATIONS.items()]
    unseen = 0
    for job, found in explore(jobs, processes):
        unseen += not found
        what = next((f"seed {seed}: {what}" for seed, what in found.items()), f"NOT SEEN in {len(job.seeds)} schedules")
        print(f"{ABLATIONS[job.without].rule:3}  {job.without:22} {what}", flush=True)
    return unseen > 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names have an order, and it must be the same each time
        words = [sys.executable, "-m", "tests.model", *sys.argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main())
