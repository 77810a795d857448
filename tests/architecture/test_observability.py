"""The files of `docker compose --profile observability`: no image can be pulled here, so their own tools read them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.dashboards.__main__ import DASHBOARDS, FOLDER, expressions
from tools.dashboards.panels import HIGH, WIDE, WINDOW, rendered

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy/observability"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    return path


def run(promtool: str, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: str(one.name))
def test_a_dashboard_is_what_its_source_makes(dashboard: Any) -> None:
    """`python -m tools.dashboards` writes them; no panel lies on another."""
    text = (FOLDER / f"{dashboard.name}.json").read_text(encoding="utf-8")
    assert text == rendered(dashboard)
    whole = json.loads(text)
    assert len({panel["id"] for panel in whole["panels"]}) == len(whole["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in whole["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= WIDE and h in (1, HIGH) and not cells & taken
        taken |= cells


def test_prometheus_understands_its_configuration_and_alerts(promtool: str, tmp_path: Path) -> None:
    """The path of the rules is the container's, so they are read beside it."""
    text = (FILES / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/alerts.yml", "alerts.yml"))
    shutil.copy(FILES / "alerts.yml", tmp_path)
    run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))


def test_prometheus_understands_every_panel(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{at}", "expr": e.replace(WINDOW, "1m")} for at, e in enumerate(expressions())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(path))


def test_an_alert_comes_when_a_device_idles_with_work_and_not_for_want_of_it(promtool: str, tmp_path: Path) -> None:
    """Prometheus plays the rules against made-up series."""
    shutil.copy(FILES / "alerts.yml", tmp_path)
    series = 'sluice_engine_device_idle_seconds_total{{instance="{}",cause="{}"}}'
    asked = {"eval_time": "10m", "alertname": "SluiceDeviceIdleWithWork"}
    busy = {"instance": "slow", "severity": "warn"}
    says = "The device of slow is idle for 20% of the time though there is work"
    tests = [
        {
            "interval": "5s",
            "input_series": [
                {"series": series.format("slow", "plan"), "values": "0+1x200"},
                {"series": series.format("idle", "work"), "values": "0+5x200"},
            ],
            "alert_rule_test": [{**asked, "exp_alerts": [{"exp_labels": busy, "exp_annotations": {"summary": says}}]}],
        }
    ]
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "5s", "tests": tests}))
    run(promtool, "test", "rules", str(path))


def test_the_collector_uses_what_it_defines() -> None:
    config = read(FILES / "collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for part, names in pipeline.items():
            assert set(names) <= set(config[part]), part
    used = {name for pipeline in config["service"]["pipelines"].values() for part in pipeline.values() for name in part}
    defined = {name for part in ("receivers", "processors", "exporters") for name in config[part]}
    assert used == defined


def test_grafana_finds_its_sources() -> None:
    sources = {source["uid"] for source in read(FILES / "grafana/datasources/sluice.yaml")["datasources"]}
    for dashboard in DASHBOARDS:
        panels = json.loads(rendered(dashboard))["panels"]
        assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} <= sources


def test_what_compose_starts_is_pinned_and_has_no_privileges() -> None:
    """Each image by its version; nothing but loopback is published; the files that are mounted are there."""
    services = read(ROOT / "docker-compose.yml")["services"]
    watched = {name: one for name, one in services.items() if "observability" in one.get("profiles", ())}
    assert set(watched) == {"collector", "jaeger", "prometheus", "grafana"}
    for name, one in watched.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", one["image"]), name
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and not str(one["user"]).startswith("0"), name
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ())), name
        for mount in one.get("volumes", ()):
            source = mount.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), mount
