"""`python -m tools.dashboards` writes the dashboards' files; a test compares them with what this makes."""

from pathlib import Path

from tools.dashboards.bus import BUS
from tools.dashboards.engine import ENGINE
from tools.dashboards.panels import rendered
from tools.dashboards.requests import REQUESTS

FOLDER = Path(__file__).resolve().parents[2] / "deploy/observability/grafana/dashboards"
DASHBOARDS = (REQUESTS, ENGINE, BUS)


def expressions() -> list[str]:
    """All that is asked of Prometheus."""
    return [query for one in DASHBOARDS for _, row in one.rows for panel in row for query, _ in panel.queries]


def main() -> None:
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.name}.json"
        path.write_text(rendered(dashboard), encoding="utf-8")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
