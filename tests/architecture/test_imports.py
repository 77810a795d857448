"""Who imports what: the contracts of .importlinter, and what is mapped when a process really starts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("services", "shared", "kernels")
HEAVY = ("torch", "triton", "redis", "aiohttp", "asyncio", "transformers")


def run_python(code: str) -> str:
    """What a fresh interpreter in the root of the tree prints for `code`."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_import_contracts_hold() -> None:
    """lint-imports, as `make lint` runs it."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_engines_core_runs_on_plain_python() -> None:
    """All modules of services.engine.core together load no torch, no event loop and no bus, not even by detours."""
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources("services/engine/core")]
    assert "services.engine.core.events" in modules
    imports = "; ".join(f"import {module}" for module in modules if not module.endswith("__init__"))
    loaded = run_python(f"import sys; {imports}; print(*(m for m in {HEAVY!r} if m in sys.modules))")
    assert loaded.split() == []


def test_transformers_finds_its_models_beside_our_kernels() -> None:
    """transformers probes for a package named `kernels`; ours must not stand in its way."""
    code = "import kernels; from transformers import LlamaForCausalLM; print(LlamaForCausalLM.__name__)"
    assert run_python(code).strip() == "LlamaForCausalLM"


@pytest.mark.parametrize("service", ["gateway", "detokenizer"])
def test_a_service_that_only_handles_text_maps_no_libtorch(service: str) -> None:
    """Torch costs 250 MB and two seconds a process: installed or not, a tokenizer at work does not load it."""
    if sys.platform != "linux":
        pytest.skip("/proc/self/maps is Linux's")
    code = (
        f"import services.{service}.__main__, sys, pathlib; from shared import tokenizer; "
        "chat = tokenizer.load(pathlib.Path('models/demo')); "
        "chat.decode(chat.apply_chat_template([{'role': 'user', 'content': 'Hello'}], return_dict=False)); "
        "maps = pathlib.Path('/proc/self/maps').read_text(); "
        "print('libtorch' in maps, 'torch' in sys.modules, 'tokenizers' in maps)"
    )
    assert run_python(code).split() == ["False", "False", "True"]


@pytest.mark.parametrize("path", sources(*SHIPPED), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_reads_or_writes_pickles(path: Path) -> None:
    """Pickle runs what it reads, so nothing that comes over a wire or from a disk may be one."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    assert not imported & {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve"}
