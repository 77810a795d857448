"""What went wrong elsewhere, one rule each. `docs/security.md` lists those that cannot apply, and why."""

import ast
import gzip
import inspect
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from services.detokenizer import server
from services.engine.inbox import Inbox
from services.gateway import keyring, templating
from services.gateway.openai import ChatBody, CompletionBody
from services.gateway.validation import parse
from shared.errors import ClientError
from tests.unit.gateway.fakes import MODEL, a_chat, a_world, error_of

ROOT = Path(__file__).parents[3]
PRODUCT = [path for part in ("services", "shared", "kernels", "tools") for path in sorted((ROOT / part).rglob("*.py"))]
SERVICES = [path for path in PRODUCT if path.is_relative_to(ROOT / "services") or path.is_relative_to(ROOT / "shared")]


def trees(paths: list[Path]) -> Iterator[tuple[str, ast.AST]]:
    for path in paths:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return modules | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def called(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_no_pickle_on_any_wire_or_disk() -> None:
    """vLLM CVE-2025-32444, SGLang CVE-2026-3059, LightLLM CVE-2026-26220, "ShadowMQ": unpickling runs what it reads."""
    forbidden = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "copyreg", "zmq"}
    for name, tree in trees(PRODUCT):
        assert not {module.split(".")[0] for module in imported(tree)} & forbidden, name


def test_weights_come_from_safetensors_only() -> None:
    """torch.load (CVE-2025-24357) unpickles."""
    for name, tree in trees(PRODUCT):
        assert not called(tree) & {"torch.load", "torch.jit.load", "np.load", "numpy.load"}, name


def test_no_service_runs_text_as_code() -> None:
    """LMDeploy CVE-2026-46432: code that came with a checkpoint."""
    for name, tree in trees(SERVICES):
        assert not called(tree) & {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}, name
        assert "trust_remote_code=True" not in ast.unparse(tree), name


def test_templates_are_rendered_in_a_sandbox_only() -> None:
    """SGLang CVE-2026-5760: a plain jinja2.Environment is remote code execution by model file."""
    users = {name for name, tree in trees(PRODUCT) if any(m.split(".")[0] == "jinja2" for m in imported(tree))}
    assert users == {"services/gateway/templating.py"}
    source = inspect.getsource(templating)
    assert "ImmutableSandboxedEnvironment(" in source and not re.search(r"[^d]Environment\(", source)
    for name, tree in trees(PRODUCT):
        assert "apply_chat_template" not in ast.unparse(tree) or "demo_model" in name, name


@pytest.mark.parametrize("name", ["chat_template", "documents"])
def test_a_request_brings_no_template(name: str) -> None:
    with pytest.raises(ClientError) as refusal:
        parse(ChatBody, orjson.dumps(a_chat() | {name: "{{ 1 }}"}))
    assert (refusal.value.param, refusal.value.code) == (name, "unsupported_parameter")


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "messages", "range", "raise_exception", "__class__"])
def test_the_variables_of_a_request_are_no_way_to_another_template(name: str) -> None:
    """vLLM CVE-2025-62426, CVE-2026-115911: `chat_template_kwargs` replaced what renders, and blocked the server."""
    with pytest.raises(ClientError) as refusal:
        parse(ChatBody, orjson.dumps(a_chat() | {"chat_template_kwargs": {name: "{{ 1 }}"}}))
    assert refusal.value.param == f"chat_template_kwargs.{name}"


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "array"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "field",
    [
        {"n": 129},
        {"stop": ["x"] * 17},
        {"stop": "x" * 1025},
        {"stop_token_ids": [1] * 257},
        {"messages": [{"role": "user", "content": "x"}] * 4097},
        {"metadata": {str(i): "" for i in range(17)}},
        {"model": "x" * 513},
        {"logit_bias": {str(i): 1 for i in range(1025)}},
        {"allowed_token_ids": [1] * 1025},
        {"bad_words": ["x"] * 129},
        {"bad_words": ["x" * 257]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["x"] * 20_000}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": nested(65)}}},
        {"structured_outputs": {"regex": "x" * 8193}},
        {"structured_outputs": {"choice": ["x"] * 1025}},
        {"structured_outputs": {"choice": ["x" * 1025]}},
        {"structured_outputs": {"grammar": "x" * 32_769}},
    ],
)
def test_every_count_and_length_is_bounded_before_work(field: dict[str, object]) -> None:
    """vLLM CVE-2026-34756 (a huge `n`), CVE-2026-55574 (grammars), CVE-2025-48943."""
    with pytest.raises(ClientError) as refusal:
        parse(ChatBody, orjson.dumps(a_chat() | field))
    assert str(refusal.value.param).split(".")[0] == next(iter(field))


def test_many_prompts_times_many_choices_are_bounded_together() -> None:
    """The same advisory, by multiplication."""
    with pytest.raises(ClientError, match="n times the number of prompts"):
        parse(CompletionBody, orjson.dumps({"model": "m", "prompt": ["x"] * 200, "n": 100}))


def test_no_pattern_of_ours_backtracks_on_what_a_client_wrote() -> None:
    """CVE-2025-71379: no pattern nests one repetition in another."""
    nested = re.compile(r"\([^)]*[+*}][^)]*\)[+*{]")
    for path in SERVICES:
        for pattern in re.findall(r're\.compile\(r?"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")):
            assert not nested.search(pattern), (path.name, pattern)


async def test_ids_beyond_the_models_output_width_are_refused(checkpoint: Path) -> None:
    """vLLM CVE-2026-93840, CVE-2026-93989: ids beyond the logits corrupted other users' answers. The engine asks
    again, as the bus is open."""
    async with a_world(checkpoint) as world:
        for fields in ({"prompt": [300]}, {"prompt": "x", "stop_token_ids": [300]}):
            async with world.http.post("/v1/completions", json={"model": MODEL} | fields) as response:
                assert response.status == 400 and "300" in (await error_of(response))["message"]
    assert "vocab_size" in inspect.getsource(Inbox._refusal)


def test_no_service_fetches_what_a_request_names() -> None:
    """LMDeploy CVE-2026-33626, CVE-2026-63764: image URLs. Only the gateway is a client, of its own detokenizers."""
    clients = {"aiohttp.ClientSession", "urllib.request.urlopen", "httpx.get", "socket.create_connection"}
    users = {name for name, tree in trees(SERVICES) if called(tree) & clients}
    assert users == {"services/gateway/compose.py"}
    with pytest.raises(ClientError):
        url = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}
        parse(ChatBody, orjson.dumps(a_chat(messages=[{"role": "user", "content": [url]}])))


def test_secrets_are_compared_in_constant_time() -> None:
    """vLLM CVE-2025-59425: the time of a comparison told the key."""
    for module in (keyring, server):
        assert "hmac.compare_digest(" in inspect.getsource(module)
    for name, tree in trees(SERVICES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                said = ast.unparse(node)
                assert not re.search(r"internal_token|self\.token\b|api_key|password|authorization", said, re.I), name


def test_no_assert_guards_a_secret() -> None:
    """vLLM CVE-2026-41523: `python -O` removes asserts."""
    for name, tree in trees(SERVICES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                assert not re.search(r"internal_token|api_key|password|authoriz", ast.unparse(node.test), re.I), (
                    name,
                    node.lineno,
                )


async def test_no_secret_and_no_prompt_is_logged_or_told(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the log nor in /metrics, /ready, /openapi.json or an error."""
    caplog.set_level(logging.DEBUG)
    secrets = ("the-api-key", "the-internal-token", "a private prompt", "shown-by-a-stranger")
    async with a_world(checkpoint, api_key="the-api-key", internal_token="the-internal-token") as world:
        said = []
        for key in ("the-api-key", "shown-by-a-stranger"):
            headers = {"Authorization": f"Bearer {key}"}
            body = a_chat(messages=[{"role": "user", "content": "a private prompt"}], n=0)
            async with world.http.post("/v1/chat/completions", json=body, headers=headers) as response:
                said.append(await response.text())
            for path in ("/metrics", "/ready", "/health", "/openapi.json", "/v1/models"):
                async with world.http.get(path, headers=headers) as response:
                    said.append(await response.text())
    for secret in secrets:
        assert secret not in caplog.text and not any(secret in text for text in said), secret


async def test_metrics_are_not_public_where_keys_are_set(checkpoint: Path) -> None:
    async with a_world(checkpoint, api_key="k") as world:
        async with world.http.get("/metrics") as response:
            assert response.status == 401
        for path in ("/debug", "/debug/", "/docs/", "/admin", "/server_info", "/flush_cache"):
            async with world.http.get(path) as response:
                assert response.status == 401


async def test_a_body_that_unpacks_to_more_than_the_bound_is_refused(checkpoint: Path) -> None:
    """SGLang CVE-2026-109229: a decompression bomb."""
    data = gzip.compress(b" " * 50_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with (
        a_world(checkpoint, max_body_bytes=100_000) as world,
        world.http.post("/v1/chat/completions", data=data, headers=headers) as response,
    ):
        assert 400 <= response.status < 500


def test_the_data_plane_is_bound_to_loopback_or_the_inner_network() -> None:
    """vLLM CVE-2025-30202: a socket on all interfaces. Compose publishes the gateway, on loopback
    by default, and what the observability profile shows, on loopback only."""
    from services.detokenizer.config import DetokenizerConfig
    from services.engine.config import EngineConfig
    from services.gateway.config import GatewayConfig

    assert {config().host for config in (DetokenizerConfig, EngineConfig, GatewayConfig)} == {"127.0.0.1"}
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    gateway, *watching = re.findall(r"^ *ports:.*$", compose, re.M)
    assert gateway == '    ports: ["${PUBLISH_HOST:-127.0.0.1}:${PUBLISH_PORT:-8000}:8000"]'
    assert watching and all(re.fullmatch(r' *ports: \["127\.0\.0\.1:[^"]+"\]', line) for line in watching)
    assert "bus: {internal: true}" in compose


def test_nobody_runs_scripts_in_redis() -> None:
    """Redis CVE-2025-49844 and its like are in Lua: no service may say EVAL, nor has code that does."""
    acl = (ROOT / "deploy" / "redis.acl").read_text(encoding="utf-8")
    assert all(" -@all " in line for line in acl.splitlines())
    assert not re.search(r"\+(eval|script|fcall|@)", acl)
    for path in SERVICES:
        assert not re.search(r'"(EVAL|EVALSHA|SCRIPT|FCALL)"|register_script', path.read_text(encoding="utf-8")), path


def test_a_prefix_that_was_computed_for_one_tenant_is_not_told_from_by_another() -> None:
    """vLLM CVE-2025-46570: the time to the first token tells whether a prefix was cached; so each tenant has a salt."""
    source = (ROOT / "services" / "gateway" / "fanout.py").read_text(encoding="utf-8")
    assert "cache_salt=_salt(body, call)" in source  # what that is: tests/unit/gateway/test_fanout.py
    assert "event.cache_salt" in (ROOT / "services/engine/core/request.py").read_text(encoding="utf-8")


def test_the_versions_with_known_sandbox_escapes_are_not_installed() -> None:
    """Jinja below 3.1.6 lets templates out of the sandbox (CVE-2025-27516)."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    [version] = re.findall(r"^jinja2==([0-9.]+)$", pins, re.M)
    assert tuple(map(int, version.split("."))) >= (3, 1, 6)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == "sluice"
