"""This tier runs the kernels in Triton's interpreter, which must be chosen before triton is imported."""

import os
import sys

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise pytest.UsageError("tests/kernels needs a process of its own: triton has been imported to compile")
    os.environ["TRITON_INTERPRET"] = "1"
    # The interpreter computes by numpy, which speaks up where a GPU wraps or makes a NaN in silence.
    config.addinivalue_line("filterwarnings", "ignore::RuntimeWarning:triton")
