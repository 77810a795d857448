"""Every configuration that is compiled ahead of time computes the right thing, in Triton's interpreter."""

import importlib
import inspect
from pathlib import Path

import pytest

from kernels._case import Case, Size, Source
from tests.kernels.harness import CPU, assert_agrees, in_float64, in_half

ROOT = Path(__file__).resolve().parents[2]
OPS = sorted(path.parent.name for path in ROOT.glob("kernels/*/kernel.py"))
CASES = [case for op in OPS for case in importlib.import_module(f"kernels.{op}.cases").CASES]
ODD = (Size(1, 1), Size(2, 63), Size(5, 100), Size(3, 131))


def sizes(case: Case) -> tuple[Size, ...]:
    """All odd ones for the small model, which differs from the large ones in numbers only, and one for each large."""
    if case.name.endswith("-small"):
        return (*ODD, Size(7, 65)) if case.name.startswith("draw") else ODD
    return (Size(2, 40),) if case.name.startswith(("draw", "logprobs")) else (Size(4, 70),)


RUNS = [pytest.param(c, s, id=f"{c.name}-{s.rows}x{s.context}") for c in CASES for s in sizes(c)]


@pytest.mark.parametrize("case, size", RUNS)
def test_a_case_agrees_with_float64(case: Case, size: Size) -> None:
    """The launcher on random inputs against the reference in float64, to one rounding of the inputs' dtype.

    What adds before it norms rounds twice: it norms the sum as it is stored.
    """
    attention = "attention" in case.name
    absolute = 1.0 if attention or case.name.startswith("logprobs") else 0.1
    inputs = case.inputs(size, Source(CPU))
    inputs = in_half(inputs) if attention else inputs
    want = case.reference(**in_float64(inputs))

    got = case.launch(**inputs)

    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert_agrees(one, other, absolute, roundings=2 if "-add-" in case.name else 1)


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_a_folder_with_all_its_parts(op: str) -> None:
    """Formula, kernel and launcher; reference; cases; bench. What kernel.py has in public is annotated."""
    folder = ROOT / "kernels" / op
    assert {"__init__.py", "kernel.py", "reference.py", "cases.py", "bench.py"} <= {p.name for p in folder.iterdir()}
    kernel = importlib.import_module(f"kernels.{op}.kernel")
    assert kernel.__doc__ and "=" in kernel.__doc__, "no formula"
    assert any(case.name.startswith(op) for case in CASES)
    public = [
        v for k, v in vars(kernel).items() if inspect.isfunction(v) and v.__module__ == kernel.__name__ and k[0] != "_"
    ]
    assert public and all("return" in function.__annotations__ for function in public)
