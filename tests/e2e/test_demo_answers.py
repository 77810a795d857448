"""The demo model answers what it was taught, in other words too, and says so when it does not know."""

import json
from pathlib import Path

import pytest
from openai import AsyncOpenAI

QUESTIONS = json.loads((Path(__file__).parent / "demo_questions.json").read_text())


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: case["question"])
async def test_the_demo_model_answers(client: AsyncOpenAI, case: dict[str, object]) -> None:
    reply = await client.chat.completions.create(
        model="sluice-demo", messages=[{"role": "user", "content": str(case["question"])}], temperature=0
    )
    answer = (reply.choices[0].message.content or "").lower()
    for alternatives in case["must_contain_any"]:  # type: ignore[attr-defined]
        assert any(word in answer for word in alternatives), answer
    assert reply.choices[0].finish_reason == "stop"
