"""The commands around the tests: what is installed, what may be skipped, what a tier's failure does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import system
from tools.install import requirements

ROOT = Path(__file__).resolve().parents[2]
SKIPPING = "import pytest\ndef test_it() -> None:\n    pytest.skip('no such thing here')\n"


def python(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("SLUICE_STRICT", "PYTEST_ADDOPTS")}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=clean | environ, capture_output=True, text=True)


@pytest.mark.parametrize("strict, status, line", [("", 0, "1 skipped"), ("1", 1, "1 failed")])
def test_a_skip_fails_where_everything_must_run(tmp_path: Path, strict: str, status: int, line: str) -> None:
    """With SLUICE_STRICT=1 the reason of the skip is the reason of the failure."""
    (tmp_path / "test_skip.py").write_text(SKIPPING)
    done = python("-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", str(tmp_path), SLUICE_STRICT=strict)
    assert (done.returncode, line in done.stdout) == (status, True), done.stdout + done.stderr
    assert "no such thing here" in done.stdout


def test_every_tier_runs_and_one_failure_is_the_commands() -> None:
    """A tier that has nothing to run is a failure too: a renamed folder must not go unnoticed."""
    done = python("-m", "tools.tiers", "no-such-tier", "unit/run", "--pytest-args=-k test_pauses_double")
    assert done.returncode != 0
    first, second = done.stdout.strip().splitlines()[-2:]
    assert first.startswith("FAIL  no-such-tier")
    assert second.startswith("ok    unit/run")
    assert "1 passed" in second


def test_an_image_installs_only_what_its_service_needs() -> None:
    """Torch is the engine's alone; what all share comes first, and nothing twice."""
    for extras, has_torch in ((["gateway"], False), (["detokenizer"], False), (["engine"], True)):
        names = requirements(extras)
        assert any(name.startswith("torch") for name in names) == has_torch
        assert names[0].startswith("aiohttp")
        assert len(set(names)) == len(names)
    assert requirements(["gateway", "gateway"]) == requirements(["gateway"])
    with pytest.raises(KeyError):
        requirements(["no-such-extra"])


def test_what_is_there_is_not_installed_again() -> None:
    """A package is known by its program on the PATH."""
    here = {"one": "/usr/bin/one"}
    assert system.missing({"a": "one", "b": "two"}, here.get) == ["b"]


@pytest.mark.parametrize(
    ("strict", "root", "apt", "why_not"),
    [
        (False, True, True, "tests that need it are skipped"),
        (True, True, False, "there is no apt-get to install it with"),
        (True, False, True, "only root may install it"),
        (True, True, True, None),
    ],
)
def test_nothing_is_installed_on_somebodys_own_machine(
    strict: bool, root: bool, apt: bool, why_not: str | None
) -> None:
    """Only where no test may be skipped, only by root, and only with Debian's own tool."""
    here = {"apt-get": "/usr/bin/apt-get"} if apt else {}
    assert system.obstacle(strict=strict, root=root, which=here.get) == why_not


@pytest.mark.parametrize(("status", "said"), [(0, "chromium, prometheus installed"), (1, "apt-get update failed")])
def test_a_clean_machine_gets_what_the_tests_use(tmp_path: Path, status: int, said: str) -> None:
    """apt-get is asked for a new list, then for the packages alone; what it cannot do is no failure of the set-up."""
    if os.geteuid():
        pytest.skip("only root may install")
    log = tmp_path / "log"
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {log}\necho trouble\nexit {status}\n')
    (tmp_path / "apt-get").chmod(0o755)
    done = python("-m", "tools.system", SLUICE_STRICT="1", PATH=f"{tmp_path}")
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    asked = [line.split("Acquire::Retries=3 ")[1] for line in log.read_text().splitlines()]
    assert asked == ["update", "install -y --no-install-recommends chromium prometheus"][: 2 - status]
    own = python("-m", "tools.system", PATH=f"{tmp_path}")
    assert own.stdout.startswith("system: chromium, prometheus not installed, tests that need it are skipped")
    assert len(log.read_text().splitlines()) == 2 - status
