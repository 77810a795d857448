"""What loops need around them: tensors without gaps, and a place for what was compiled."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import _loops
from kernels.draw.cpu import argmax


def test_tensors_with_gaps_are_refused() -> None:
    """A loop would read past each row."""
    with pytest.raises(ValueError, match="contiguous"):
        argmax(torch.zeros(3, 8)[:, :7])


def test_a_cache_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there is machine code that would be run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = Path(_loops._cache_folder())
    assert folder.is_relative_to(tmp_path)
    folder.chmod(0o777)
    assert _loops._cache_folder() == ""


def test_only_the_newest_folders_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mine = Path(_loops._cache_folder())
    for name in range(6):
        (mine.parent / str(name)).mkdir()
    _loops._cache_folder()
    left = list(mine.parent.iterdir())
    assert len(left) == _loops.KEPT
    assert mine in left


def test_an_engine_on_a_card_has_no_use_for_numba() -> None:
    """What opens a worker imports it for a CPU only."""
    program = "import sys, services.engine.worker.opening; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
