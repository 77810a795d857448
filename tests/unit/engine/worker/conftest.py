"""One tiny checkpoint for all tests of the worker."""

from pathlib import Path

import pytest

from tests.checkpoints import build


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen3", tmp_path_factory.mktemp("qwen3"))
