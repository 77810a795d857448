"""Does memory stay flat? Samples of Redis and of every process, taken at rest, and a verdict."""

from statistics import median

from tests.chaos.cast import Cast
from tests.chaos.store import Store

FEWEST = 9  # samples; fewer say nothing
SLACK = 1.15  # of what the first third needed
NOISE = {"keys": 64, "consumers": 4}  # beyond that: in their own units
NOISE_BYTES = 16 << 20


class Flat:
    """Series of samples by name; a process that is born again begins a new series."""

    def __init__(self) -> None:
        self._series: dict[str, list[int]] = {}

    def see(self, name: str, value: int) -> None:
        self._series.setdefault(name, []).append(value)

    async def look(self, cast: Cast) -> None:
        for actor in cast.actors:
            self.see(f"{actor.name}, birth {actor.births}", actor.memory())
        async with Store(cast) as store:
            for name, value in (await store.size()).items():
                self.see(f"Redis's {name}", value)

    def complaints(self) -> list[str]:
        """Which series needs more in its last third than in its first, as medians."""
        found = []
        for name, series in self._series.items():
            if len(series) >= FEWEST:
                third = len(series) // 3
                first, last = median(series[:third]), median(series[-third:])
                if last > SLACK * first + NOISE.get(name.rpartition(" ")[2], NOISE_BYTES):
                    found.append(f"{name} grew from {first:.0f} to {last:.0f}")
        return found

    def __str__(self) -> str:
        rows = []
        for name, series in self._series.items():
            if len(series) >= FEWEST:
                unit, scale = ("MiB", 1 << 20) if max(series) > 1 << 20 else ("", 1)
                start, most, end = (value / scale for value in (series[0], max(series), series[-1]))
                rows.append(f"  {name:<28} {len(series):4} samples  {start:8.1f} {most:8.1f} {end:8.1f} {unit}")
        return "\n".join(["memory (first, most, last):", *rows])
