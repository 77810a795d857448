"""The shape of the tree: small files that say what they are, and texts that hold no machine's paths."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 260
FOLDERS = ("services", "shared", "kernels", "tools", "tests", "examples")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_has_one_noun_and_says_which(path: Path) -> None:
    """At most 260 lines: past that there is a second noun in it. Whatever has code opens with a docstring."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring"


def test_every_requirement_is_pinned() -> None:
    """constraints.txt names each direct requirement, exactly and without an index or a local build. Triton is free:
    each build of torch for CUDA asks for a Triton of its own, and a pin here would refuse it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\d[\w.]*", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    assert {re.sub(r"[-_.]+", "-", re.split(r"[<>=; \[]", r)[0]).lower() for r in wanted} - {"triton"} <= pinned
    assert "triton" not in pinned


def test_nothing_is_installed_as_a_distribution() -> None:
    """A distribution would bring a top-level package named `kernels`, which is not ours to take."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["packages"] == []


def test_the_files_of_the_repository_are_what_a_clone_can_hold() -> None:
    """No file over 12 MB, and none that is only a build's or a run's leftover."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [f for f in files if f.exists() and f.stat().st_size > 12 * 2**20]
    assert not [f for f in files if f.suffix in {".pyc", ".pt", ".bin", ".log"}]
