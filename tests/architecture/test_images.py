"""What an image is made of reaches its build."""

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_everything_that_the_dockerfile_copies_is_sent_to_the_build() -> None:
    """`.dockerignore` leaves out everything but what it names, and what is copied is there."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = [path for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for path in line.split()]
    assert len(copied) > 5
    for path in copied:
        assert (ROOT / path).exists()
        assert any(path == rule or path.startswith(f"{rule}/") or fnmatch(path, rule) for rule in kept), path
