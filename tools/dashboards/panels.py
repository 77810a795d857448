"""Panels and dashboards as values, and the JSON that Grafana's provisioning reads."""

import json
from dataclasses import dataclass
from typing import Any

WIDE, HIGH = 24, 8  # of Grafana's grid
WINDOW = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. `queries`: expression and legend; `width`: of WIDE."""

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    width: int = 8
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    name: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def quantiles(metric: str, by: str = "", where: str = "") -> tuple[tuple[str, str], ...]:
    """Median, 95th and 99th percentile of a histogram, for each value of the label `by`."""
    group, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rate = f"rate({metric}_bucket{{{where}}}[{WINDOW}])"
    return tuple(
        (f"histogram_quantile({q}, sum by ({group}) ({rate}))", f"p{round(q * 100)}{legend}") for q in (0.5, 0.95, 0.99)
    )


def rate(metric: str, by: str, where: str = "") -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({by}) (rate({metric}{{{where}}}[{WINDOW}]))", f"{{{{{by}}}}}"),)


def rendered(dashboard: Dashboard) -> str:
    """Its JSON, as Grafana's provisioning reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in dashboard.rows:
        panels.append(_row(len(panels) + 1, title, top))
        top += 1
        left = 0
        for panel in row:
            if left + panel.width > WIDE:
                left, top = 0, top + HIGH
            panels.append(_panel(len(panels) + 1, panel, left, top))
            left += panel.width
        top += HIGH
    whole = {
        "uid": f"sluice-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["sluice"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["sluice"], "asDropdown": False, "title": "Sluice"}],
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": WIDE, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 40 if panel.stacked else 8, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": HIGH},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }
