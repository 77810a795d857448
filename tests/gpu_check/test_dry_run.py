"""Every section of gpu-check, tiny and on a CPU: what runs there is what runs on a card."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.gpu_check.sections import SECTIONS
from tools.gpu_check.settings import ROOT

MODEL = "tiny"


def dry_run(folder: Path) -> dict[str, Any]:
    """The JSON it leaves."""
    command = [sys.executable, "-m", "tools.gpu_check", "--dry-run", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = folder.glob("*.json")
    told: dict[str, Any] = json.loads(written.read_text())
    return told


def test_every_section_runs_to_its_end_and_every_figure_is_found(tmp_path: Path) -> None:
    """Kernels agree with float64, tokens with transformers; the workload comes back whole, offline, through the whole
    service set and from transformers; and each goal has a figure to be judged by."""
    told = dry_run(tmp_path)
    sections = told["sections"]
    assert {name: one["state"] for name, one in sections.items()} == {s.name: "done" for s in SECTIONS}
    figures = {(name, row["subject"]): row["figures"] for name, section in sections.items() for row in section["rows"]}
    assert figures["environment", "read"]["GB/s"] > 0
    assert figures["environment", "versions"]["torch"] != "not there"
    kernels = [row["figures"] for row in sections["accuracy"]["rows"]]
    assert len(kernels) >= 3 and all(one["agrees"] for one in kernels)
    assert figures["greedy", "qwen3"]["equal"] == figures["greedy", "qwen3"]["prompts"] > 0
    assert figures["graphs", "qwen3"]["equal"] == figures["graphs", "qwen3"]["requests"] > 0
    assert figures["offline", MODEL]["tok/s"] > 0 and figures["offline", MODEL]["steps"] > 0
    assert any("kernels of a decode step" in name for name in sections["offline"]["texts"])
    assert figures["peer", MODEL]["requests finished"] == 6
    assert figures["service", MODEL]["share of offline"] > 0
    assert told["verdicts"] and not [one for one in told["verdicts"] if one["verdict"] == "not measured"]
    assert "| goal | measured |" in next(tmp_path.glob("*.md")).read_text()
