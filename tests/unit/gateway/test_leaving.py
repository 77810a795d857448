"""What a client's leaving means, by its own word: the gateway passes it on and tells who has gone."""

from pathlib import Path

import pytest

from tests.unit.gateway.fakes import a_chat, a_world, until
from tests.unit.gateway.streaming import Streaming, frames, to


@pytest.mark.parametrize(
    ("headers", "unread_s"),
    [
        ({}, 15.0),
        ({"X-On-Disconnect": "Cancel"}, 15.0),
        ({"X-On-Disconnect": "continue"}, None),
        ({"X-On-Disconnect": "detach=7"}, 7.0),
        ({"Idempotency-Key": "k"}, 30.0),
        ({"Idempotency-Key": "k", "X-On-Disconnect": "cancel"}, 15.0),
    ],
)
async def test_the_request_itself_knows_how_long_it_waits_for_a_reader(
    checkpoint: Path, headers: dict[str, str], unread_s: float | None
) -> None:
    """So that its shard's owner can end it whoever died; a client that will retry gets time for that."""
    async with a_world(checkpoint) as world, Streaming(world, **headers):
        [request] = await world.submitted()
        assert request.unread_s == unread_s


async def test_a_client_that_detaches_is_left_to_the_detokenizer(checkpoint: Path) -> None:
    """It hears at once that nobody reads here; the gateway cancels nothing."""
    async with a_world(checkpoint) as world, Streaming(world, **{"X-On-Disconnect": "detach=5"}) as stream:
        parent = await world.parent()
        stream.leave()
        await until(lambda: world.detokenizer.left == [parent])
        assert await world.cancelled() == []


async def test_a_reader_that_is_not_here_any_more_is_reported_again(checkpoint: Path) -> None:
    """Its leaving may have been lost with the process that was told."""
    async with a_world(checkpoint) as world:
        parent = "cmpl-" + "a" * 32
        await world.detokenizer.push(*frames(parent, 0, 1), *to(f"{parent}~5", *frames(parent, 0, 1)))
        await until(lambda: sorted(world.detokenizer.left) == [parent, f"{parent}~5"])


@pytest.mark.parametrize("policy", ["", "detach", "detach=", "detach=-1", "detach=1.5", "detach=86401", "x" * 999])
async def test_a_policy_the_gateway_does_not_have_is_refused_by_name(checkpoint: Path, policy: str) -> None:
    async with a_world(checkpoint) as world:
        headers = {"X-On-Disconnect": policy}
        response = await world.http.post("/v1/chat/completions", json=a_chat(), headers=headers)
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "X-On-Disconnect"
