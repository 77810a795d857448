"""The page at `/docs`, and the document that it draws."""

import re
from pathlib import Path

import pytest

from services.gateway import docs
from services.gateway.openapi import document
from tests.unit.gateway.fakes import a_world


@pytest.mark.parametrize("path", docs.FILES)
async def test_the_page_comes_without_a_key_and_may_load_nothing_from_elsewhere(checkpoint: Path, path: str) -> None:
    async with a_world(checkpoint, ready=False, api_key="k") as world:
        async with world.http.get(path) as response:
            assert response.status == 200 and response.content_type == docs.FILES[path][1]
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
            text = await response.text()
        async with world.http.get("/openapi.json") as response:
            assert response.status == 401
    assert not re.search(r"https?://|innerHTML|style=|\bon[a-z]+=", text)


def test_each_operation_and_each_schema_that_is_named_is_there() -> None:
    api = document(keys=True)
    named = set(re.findall(r"#/components/(\w+)/([\w-]+)", str(api)))
    assert named and all(name in api["components"][kind] for kind, name in named)
    told = [operation for found in api["paths"].values() for operation in found.values()]
    assert len({operation["operationId"] for operation in told}) == len(told)
    for operation in told:
        assert operation["summary"] and set(operation["responses"]) & {"200", "204"}


def test_security_says_what_is_asked_for() -> None:
    assert document(keys=False)["security"] == []
    assert document(keys=True)["security"] == [{"key": []}]
    assert document(keys=True, certificates=True)["security"] == [{"key": [], "certificate": []}]
