"""The commands around the tests: what is installed, what may be skipped, what a tier's failure does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
