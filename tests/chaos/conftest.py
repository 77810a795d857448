"""One cast and one calm run for all scenarios, and a table of what each client had to wait for."""

from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest
import pytest_asyncio

from tests.chaos.cases import Case, load
from tests.chaos.cast import Cast
from tests.chaos.clients import Told
from tests.chaos.judging import Report, calm

REPORTS = pytest.StashKey[list[Report]]()


@pytest.fixture(scope="session")
def cases() -> tuple[Case, ...]:
    return load()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Cast(tmp_path_factory.mktemp("cast")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def calmly(cast: Cast, cases: tuple[Case, ...]) -> list[Told]:
    return await calm(cast, cases)


@pytest.fixture
def dice() -> Random:
    return Random(0)


@pytest.fixture(scope="session")
def reports(pytestconfig: pytest.Config) -> Iterator[list[Report]]:
    pytestconfig.stash[REPORTS] = []
    yield pytestconfig.stash[REPORTS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(REPORTS, None):
        terminalreporter.section("what the clients saw (pauses: the luckiest, the middle, the worst)")
        for report in found:
            terminalreporter.write_line(str(report))
