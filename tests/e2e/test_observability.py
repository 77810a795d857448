"""Dashboards and alerts ask for what the services tell: each name, in a system that runs."""

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e import tables
from tests.e2e.stack import ROOT, Stack
from tools.dashboards.__main__ import expressions

SERVICES = ("gateway", "engine", "detokenizer")
NAME = re.compile(r"\b(?:sluice|gen_ai|process)_[a-z0-9_]+")
ALL_SERVICES = re.compile(r"sluice_\(gateway\|engine\|detokenizer\)")
OURS = re.compile(r"(?!.*_created$)(sluice|gen_ai)_")
PART = re.compile(r"_(bucket|sum|count|created)$")
LABEL = re.compile(r'(\w+)="')
PARTS = ("_bucket", "_sum", "_count")  # of a histogram


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("run"), "--device", "sim") as running:
        yield running


def asked() -> set[str]:
    """Every metric that a dashboard or an alert names."""
    rules = yaml.safe_load((ROOT / "deploy/observability/alerts.yml").read_text())["groups"][0]["rules"]
    found: set[str] = set()
    for expression in (*expressions(), *(rule["expr"] for rule in rules)):
        each = [ALL_SERVICES.sub(f"sluice_{name}", expression) for name in SERVICES]
        found.update(name for text in each for name in NAME.findall(text))
    return found


def test_the_services_have_what_dashboards_and_alerts_ask_for(stack: Stack) -> None:
    told: set[str] = set()
    for name in ("gateway", "engine-0", "detokenizer-0"):
        told.update(re.findall(r"^# TYPE (\S+) ", stack.metrics_text(name), re.M))
    for suffix in PARTS:
        told.update(f"{name}{suffix}" for name in list(told))
    assert not asked() - told


def test_the_documented_metrics_are_those_that_services_tell(stack: Stack) -> None:
    """Names, kinds and labels; not the state of owners, whose names follow the code, nor what every process has."""
    told: dict[str, str] = {}
    labels: dict[str, set[str]] = {}
    for service in ("gateway", "engine-0", "detokenizer-0"):
        text = stack.metrics_text(service)
        state = set(re.findall(r"^# HELP (\S+) State of its owner$", text, re.M))
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        told |= {name: kind for name, kind in kinds.items() if name not in state and OURS.match(name)}
        for sample, given in re.findall(r"^(\w+)\{(.*)\} ", text, re.M):
            labels.setdefault(PART.sub("", sample), set()).update(set(LABEL.findall(given)) - {"le"})
    documented = {name: row for row in tables.rows("docs/telemetry.md", "Metrics") for name in tables.names(row[0])}
    assert {name: row[1] for name, row in documented.items()} == told
    for name in told.keys() & labels.keys():
        assert tables.names(documented[name][2]) == labels[name], name


def test_what_is_told_is_bounded(stack: Stack) -> None:
    """No label holds what a client chooses: the number of series is that of a system at rest, whatever was asked."""
    before = len(stack.metrics_text("gateway").splitlines())
    for path in ("/v1/nothing", "/v1/models/a", "/v1/models/b", "/v1/streams/chatcmpl-0", "/x?y=1"):
        stack.get(path)
    first = len(stack.metrics_text("gateway").splitlines())
    for at in range(20):
        stack.get(f"/v1/models/model-{at}")
        stack.get(f"/v1/nothing/{at}")
    assert before <= first == len(stack.metrics_text("gateway").splitlines())
