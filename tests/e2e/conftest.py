"""One running set for the whole tier: the demo model as `make run` serves it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its KV cache is so small that the tests of memory fill it before they measure: it takes pages as it is used."""
    with Stack(tmp_path_factory.mktemp("run"), "--engine-args=--kv-blocks 2048") as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=60) as openai:
        yield openai
