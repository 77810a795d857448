"""A service as a process of its own: what it is given at its start."""

import os
import resource
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, resource
from shared import lifecycle
from shared.settings import CommonConfig

async def service(config: CommonConfig, stop: asyncio.Event) -> None:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

lifecycle.run(CommonConfig, "python -m services.some", "Some service.", service)
"""


@pytest.mark.parametrize(("hard", "warned"), [(5000, False), (700, True)])
def test_a_service_may_open_as_many_files_as_its_hard_limit_allows(hard: int, warned: bool) -> None:
    """The soft one is 1024 in most shells: fewer than a gateway has clients. Too few are told to the operator."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard)),
    )
    assert int(ended.stdout) == hard
    assert (f"may open {hard} files" in ended.stderr) is warned
