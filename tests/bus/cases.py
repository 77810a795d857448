"""Requests and executors for the tests of the bus."""

from shared.bus import Bus, Delivery, Executor, Version
from shared.messages import (
    GenerateRequest,
    RenderSpec,
)
from shared.types import Lane, SamplingParams


def a_request(parent: str = "p", index: int = 0, lane: Lane = "interactive", shard: int = 0) -> GenerateRequest:
    return GenerateRequest(
        id=f"{parent}.{index}",
        parent_id=parent,
        index=index,
        prompt=(1, 2, 3),
        sampling=SamplingParams(max_tokens=4, stop_ids=(9,)),
        render=RenderSpec(
            kind="chat", model="m", created=1, stream=True, choices=index + 1, prompt_tokens=3, stop=("a", "🐝")
        ),
        shard=shard,
        lane=lane,
    )


async def an_executor(bus: Bus, name: str = "engine", shards: int = 1) -> Executor:
    executor = await bus.next_boot(name)
    await bus.birth(executor, shards)
    return executor


async def given_out(bus: Bus, executor: Executor, parent: str = "p") -> tuple[Delivery, Version]:
    """A request that this executor has, in a shard that is ours."""
    await bus.submit(parent, [a_request(parent)])
    [delivery] = await bus.take(executor, 1, 1.0)
    return delivery, await bus.claim(0, "me")
