"""What `/openapi.json` says is what happens: Schemathesis asks a running set, by HTTPS and with a key, all that the
document allows and much that it does not. No 500, no status, header, type or shape that is not documented, no hang."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from tests.certificates import Root
from tests.e2e.stack import Stack

KEY = "sk-for-this-test"
PATIENCE_S = 15.0
EXAMPLES = {"generate": 15, "tokens": 15, "streams": 15, "models": 5, "service": 2}  # of each operation and mode
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


class Served:
    """A set that simulates its engine, and a client that trusts its certificate and shows its key."""

    def __init__(self, stack: Stack, session: requests.Session, authority: str) -> None:
        self.stack = stack
        self.authority = authority
        self.session = session
        self.document = session.get(f"{stack.url}/openapi.json", timeout=PATIENCE_S).json()
        self.schema = schemathesis.openapi.from_dict(self.document)

    def try_out(self, case: "Case[Any]") -> None:
        if isinstance(case.body, dict) and case.operation.definition.raw["tags"] == ["generate"]:
            _short(case.body)
        response = case.call(self.stack.url, session=self.session, timeout=PATIENCE_S, verify=self.authority)
        assert response.status_code != 500, response.text
        case.validate_response(response, checks=CHECKS)


def _short(body: dict[str, Any]) -> None:
    """Long answers would only take time."""
    for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
        if body.get(name) is None or (isinstance(body[name], int) and body[name] > 4):
            body.pop(name, None)
    if "max_completion_tokens" not in body:
        body.setdefault("max_tokens", 4)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("secure")
    root, keys = Root(folder), folder / "keys"
    own = root.sign("server")
    keys.write_text(f"tester {KEY}\n")
    tls = ("--tls-cert", str(own.certificate), "--tls-key", str(own.key), "--api-keys-file", str(keys))
    rate = "--engine-args=--sim-tokens-per-second 100000"
    with Stack(folder / "run", "--device", "sim", rate, *tls) as stack, requests.Session() as session:
        session.trust_env = False  # it may name another authority
        session.verify = str(root.own.certificate)
        session.headers["Authorization"] = f"Bearer {KEY}"
        yield Served(stack, session, str(root.own.certificate))


OPERATIONS = [
    *("POST /v1/chat/completions", "POST /v1/completions", "POST /tokenize", "POST /detokenize"),
    *("GET /v1/models", "GET /v1/models/{id}", "GET /v1/streams/{id}", "POST /v1/streams/{id}/cancel"),
    *(
        "GET /health",
        "GET /ready",
        "GET /metrics",
        "GET /openapi.json",
        "GET /debug/timeline",
        "GET /debug/timeline.json",
    ),
    *("GET /docs", "GET /docs/reference.css", "GET /docs/reference.js"),
]


def test_every_documented_operation_is_tried_here(served: Served) -> None:
    documented = {f"{method.upper()} {path}" for path, found in served.document["paths"].items() for method in found}
    assert documented == set(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_an_operation_does_what_the_document_says(served: Served, label: str, mode: GenerationMode) -> None:
    method, path = label.split()
    operation = served.schema[path][method]
    if mode is GenerationMode.NEGATIVE and not operation.definition.raw.keys() & {"requestBody", "parameters"}:
        return  # there is nothing that could be wrong
    quick = settings(
        max_examples=EXAMPLES[operation.definition.raw["tags"][0]],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # the first failure says enough
        suppress_health_check=list(HealthCheck),
    )
    quick(given(case=operation.as_strategy(generation_mode=mode))(served.try_out))()


def test_https_is_spoken_and_nothing_else(served: Served) -> None:
    """The supervisor waited for it to be ready, and said so."""
    assert served.stack.url.startswith("https://")
    assert served.session.get(f"{served.stack.url}/v1/models", timeout=PATIENCE_S).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{served.stack.url}/health", timeout=PATIENCE_S)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"{served.stack.url.replace('https', 'http')}/health", timeout=PATIENCE_S)
