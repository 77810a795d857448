"""The short form of the suite: the faults that matter most, on one cast, each with clients in the middle of answers."""

from random import Random

import pytest

from tests.chaos.cases import Case
from tests.chaos.cast import Cast
from tests.chaos.clients import Told
from tests.chaos.judging import Report, perform
from tests.chaos.scenarios import SHORT, Scenario


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
async def test_every_client_reads_its_calm_text_though(
    cast: Cast,
    scenario: Scenario,
    cases: tuple[Case, ...],
    calmly: list[Told],
    dice: Random,
    reports: list[Report],
) -> None:
    """No token is lost and none comes twice, every pause is bounded, and nothing is left over on the bus."""
    report = await perform(cast, scenario, cases, calmly, dice)
    reports.append(report)
    assert not report.complaints, "\n".join([str(report), *report.complaints, cast.logs()])
