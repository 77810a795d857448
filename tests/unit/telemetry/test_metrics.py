"""What /metrics says, and how late the loop is."""

import asyncio
import time

from shared.telemetry.metrics import Metrics


def test_statistics_and_instruments_become_prometheus_lines() -> None:
    metrics = Metrics("sluice_test", lambda: {"a": 1, "b": {"c": 0.5}})
    metrics.histogram("wait_seconds", "Waiting", ["lane"], buckets=(0.1, 1.0)).labels("batch").observe(0.2)
    text, content_type = metrics.exposition("")
    lines = text.decode().splitlines()
    assert "sluice_test_a 1.0" in lines and "sluice_test_b_c 0.5" in lines
    assert 'sluice_test_wait_seconds_bucket{lane="batch",le="1.0"} 1.0' in lines
    assert content_type.startswith("text/plain")
    assert metrics.exposition("application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics")


async def test_whoever_hogs_the_loop_is_seen() -> None:
    metrics = Metrics("sluice_test")
    watching = asyncio.get_running_loop().create_task(metrics.watch_loop())
    await asyncio.sleep(0)
    time.sleep(0.3)  # as a hog does
    await asyncio.sleep(0.01)
    watching.cancel()
    late = [value for name, labels, value in _samples(metrics) if name.endswith("_sum")]
    assert late and late[0] >= 0.15


def _samples(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    family = next(one for one in metrics.families() if one["name"].endswith("event_loop_lag_seconds"))
    samples: list[tuple[str, dict[str, str], float]] = family["samples"]
    return samples
