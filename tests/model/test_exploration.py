"""The promises of docs/protocol.md on the production state machines, over random schedules, and each rule's need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.ablations import ABLATIONS, MENDED
from tests.model.faults import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
GROUPS = (  # scenarios that go together, and how many schedules of each
    (("all", "owners", "nets"), 50),
    (("rollback", "rollback_ties"), 60),
    (("poison", "suspects", "drains", "cancels"), 30),
    (("false_deaths", "late_moves", "burials", "deliveries", "readers", "takeovers"), 25),
)


def model(*words: str) -> subprocess.CompletedProcess[str]:
    """Seeds replay only where sets of names have a fixed order, so in an interpreter of its own."""
    command = [sys.executable, "-m", "tests.model", *words]
    environ = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240)


def test_every_scenario_is_in_a_group() -> None:
    """Else it would not be run here."""
    assert sorted(name for names, _ in GROUPS for name in names) == sorted(SCENARIOS)


@pytest.mark.parametrize(("scenarios", "schedules"), GROUPS)
def test_no_schedule_loses_doubles_or_strands_a_token(scenarios: tuple[str, ...], schedules: int) -> None:
    """Readers see each position once, in order, from the right context; all comes to rest when the faults cease."""
    names = [word for name in scenarios for word in ("--scenario", name)]
    done = model(*names, "--schedules", str(schedules))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_replays_its_schedule_exactly() -> None:
    """Else a failure could not be looked at."""
    first, again = (model("--scenario", "all", "--seed", "21", "--replay").stdout for _ in range(2))
    assert first == again and "all is well" in first


def test_each_rule_taken_away_makes_the_exploration_fail() -> None:
    """A rule whose removal nobody sees is not needed, or not tested."""
    done = model("--ablate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(ABLATIONS)


@pytest.mark.parametrize("mistake", sorted(MENDED))
def test_a_mistake_that_a_rule_makes_good_harms_nobody(mistake: str) -> None:
    """So it is the removed rule, not the mistake that goes with its removal, that the exploration sees."""
    done = model("--without", mistake, "--schedules", "40")
    assert done.returncode == 0, done.stdout + done.stderr
