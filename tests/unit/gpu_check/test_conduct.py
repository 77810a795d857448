"""Sections run one after the other, each within its time; what goes wrong in one stays in it."""

import json
import sys
from pathlib import Path

import pytest

from tools.gpu_check.conduct import Conductor, Limits
from tools.gpu_check.report import Report
from tools.gpu_check.sections import Section
from tools.gpu_check.settings import Settings

# Takes the place of a section's process: what it does is its part's name.
PROGRAM = """
import json, os, signal, sys, time
section, part, settings, known, limit_s, descriptor = sys.argv[1:]
def tell(**message):
    os.write(int(descriptor), json.dumps(message).encode() + b"\\n")
tell(row={"subject": part, "figures": {"limit": float(limit_s), "known": len(json.loads(known))}, "note": ""})
if part == "crashes":
    os.kill(os.getpid(), signal.SIGSEGV)
if part == "hangs":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if part == "half":
    os.write(int(descriptor), b'{"end": ')
    sys.exit(3)
tell(text={"name": part, "text": os.environ.get("TRITON_INTERPRET", "compiled")})
tell(end="it is wrong" if part == "fails" else "")
"""


def section(name: str, *parts: str, budget_s: float = 60.0, at_once: int = 1, interpreted: bool = False) -> Section:
    return Section(name, name.title(), budget_s, lambda settings: parts or (name,), at_once, interpreted)


@pytest.fixture
def conduct(tmp_path: Path) -> "Conduct":
    return Conduct(tmp_path)


class Conduct:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "program.py").write_text(PROGRAM)

    def __call__(self, *sections: Section, limits: Limits | None = None, dry: bool = False) -> dict[str, dict]:  # type: ignore[type-arg]
        """The sections as the JSON file has them."""
        report = Report(self._folder, "it", {}, {one.name: one.title for one in sections})
        program = (sys.executable, str(self._folder / "program.py"))
        Conductor(Settings(dry=dry), report, limits or Limits(1e12, lambda: 0.0), program).conduct(sections)
        told: dict[str, dict] = json.loads(report.json.read_text())["sections"]  # type: ignore[type-arg]
        return told


def test_what_goes_wrong_in_a_section_stays_in_it(conduct: Conduct) -> None:
    """A wrong result, a crash, a word that was cut off: each is told with its reason, and what was found is kept."""
    told = conduct(section("fails"), section("crashes"), section("half"), section("fine"))
    assert {name: one["state"] for name, one in told.items()} == {
        "fails": "failed",
        "crashes": "failed",
        "half": "failed",
        "fine": "done",
    }
    assert told["fails"]["reasons"] == ["it is wrong"]
    assert told["crashes"]["reasons"] == ["crashes: ended with status -11 and said nothing"]
    assert told["half"]["reasons"] == ["half: ended with status 3 and said nothing"]
    assert all(one["rows"][0]["subject"] == name for name, one in told.items())


def test_a_part_that_hangs_is_ended_and_the_next_one_runs(conduct: Conduct) -> None:
    """It does not even hear SIGTERM. What it told before is kept."""
    told = conduct(section("hanging", "hangs", "fine", budget_s=6.0))
    assert told["hanging"]["state"] == "late"
    assert told["hanging"]["reasons"] == ["out of time: hangs: not done within 3 s"]
    assert [row["subject"] for row in told["hanging"]["rows"]] == ["hangs", "fine"]


def test_parts_share_the_time_and_a_later_section_knows_what_an_earlier_one_found(conduct: Conduct) -> None:
    """One after the other, each gets an equal share of what is left; side by side, each all of it."""
    told = conduct(section("apart", "a", "b", budget_s=40.0), section("together", "a", "b", budget_s=40.0, at_once=2))
    assert [row["figures"]["limit"] for row in told["apart"]["rows"]] == [20.0, 40.0]
    assert [row["figures"]["limit"] for row in told["together"]["rows"]] == [40.0, 40.0]
    assert told["together"]["rows"][0]["figures"]["known"] == 2


def test_when_all_time_is_spent_a_section_is_late_and_starts_nothing(conduct: Conduct) -> None:
    told = conduct(section("fine"), limits=Limits(1.0, lambda: 0.0))
    assert (told["fine"]["state"], told["fine"]["rows"]) == ("late", [])


def test_only_a_dry_run_interprets_kernels(conduct: Conduct) -> None:
    """And of that only the sections that run them by themselves."""
    kernels, models = section("kernels", interpreted=True), section("models")
    dry, real = conduct(kernels, models, dry=True), conduct(kernels, models)
    assert [told["kernels"]["texts"]["kernels"] for told in (dry, real)] == ["1", "compiled"]
    assert dry["models"]["texts"]["models"] == "compiled"
