"""What was compiled once is not compiled again: results by a hash of all that they depend on."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import triton

from tools.kernels_check.compile import Compiled

ROOT = Path(__file__).resolve().parents[2]


def digest(op: str, arch: str) -> str:
    """Of the sources of the op, of what all ops share, of this tool, of the architecture and of Triton's version."""
    state = hashlib.sha256(f"{triton.__version__} {arch} {op}".encode())
    for path in sorted(_sources(op)):
        state.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:32]


def load(folder: Path, op: str, arch: str) -> list[Compiled] | None:
    """None if it must be compiled."""
    try:
        rows = json.loads(_path(folder, op, arch).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return [Compiled(**row) for row in rows]


def store(folder: Path, op: str, arch: str, rows: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{op}-{arch}-*.json"):
        old.unlink(missing_ok=True)
    path = _path(folder, op, arch)
    path.with_suffix(".new").write_text(json.dumps(rows), "utf-8")
    path.with_suffix(".new").replace(path)


def _path(folder: Path, op: str, arch: str) -> Path:
    return folder / f"{op}-{arch}-{digest(op, arch)}.json"


def _sources(op: str) -> Iterable[Path]:
    for pattern in ("kernels/_*.py", f"kernels/{op}/*.py", "tools/kernels_check/*.py"):
        yield from ROOT.glob(pattern)
