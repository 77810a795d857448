"""The load test as two pictures: the highest rates against processes, and the age of tokens against the rate."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bench.front_end_run import Point
from bench.picture import GRID, INK, MUTED, STYLE

COLOURS = ("#3b5b92", "#c8553d", "#4c9f70", "#8e6bb0", "#e0a030")
RATES, AGES = "front-end-rate.png", "front-end-latency.png"


def draw(points: Sequence[Point], folder: Path) -> Iterator[Path]:
    """Write both into `folder`, which is made, and say where they are."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for figure, name in ((rates(points), RATES), (ages(points), AGES)):
            figure.savefig(folder / name)
            yield folder / name


def rates(points: Sequence[Point]) -> Figure:
    """Bars: what was passed on with the card out of reach; then tokens of a core, there and at the least load."""
    figure = _figure("What the front end passes on", "with the card out of reach, and at the least load that was set")
    highest = [point for point in points if not point.load]
    loads = sorted({point.load for point in points if point.load})
    panels = [
        ("tokens / s, highest", highest, [point.rate for point in highest]),
        ("tokens / s of a core, highest", highest, [point.per_core for point in highest]),
    ]
    if loads:
        least = [point for point in points if point.load == loads[0]]
        title = f"tokens / s of a core, at {loads[0]} % of that"
        panels.append((title, least, [point.per_core for point in least]))
    for axes, (title, shown, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _bars(axes, title, shown, values)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper right", ncols=5, frameon=False)
    return figure


def ages(points: Sequence[Point]) -> Figure:
    """Lines: p99 and p50 of the age, a panel for each number of clients."""
    about = "from the end of its step; p99 in full, p50 in dashes; the highest rate: with the card out of reach"
    figure = _figure("How old a token is when the client has it", about)
    numbers = list(dict.fromkeys(point.clients for point in points))
    panels = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
    for axes, clients in zip(panels, numbers, strict=True):
        _lines(axes, [point for point in points if point.clients == clients])
        axes.set_title(f"{clients:,} clients", loc="left")
        axes.set_xlabel("tokens / s", color=MUTED)
    panels[0].set_ylabel("milliseconds", color=MUTED)
    panels[0].legend(loc="upper left", frameon=False, title="gateways/detokenizers")
    return figure


def _figure(title: str, about: str) -> Figure:
    figure = Figure(figsize=(11, 4.6), dpi=160, facecolor="white")
    figure.suptitle(title, x=0.03, y=0.97, ha="left", size=15, weight="bold")
    figure.text(0.03, 0.875, about, ha="left", color=MUTED, size=9.5)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.77, bottom=0.16, wspace=0.14)
    return figure


def _bars(axes: Axes, title: str, points: Sequence[Point], values: Sequence[float]) -> None:
    """A group for each layout, a colour for each number of clients; axes begin at zero and bars say their values."""
    layouts = list(dict.fromkeys(str(point.layout) for point in points))
    numbers = list(dict.fromkeys(point.clients for point in points))
    width = 0.8 / len(numbers)
    for at, clients in enumerate(numbers):
        mine = [(layouts.index(str(p.layout)), v) for p, v in zip(points, values, strict=True) if p.clients == clients]
        places = [place + (at - (len(numbers) - 1) / 2) * width for place, _ in mine]
        heights = [height for _, height in mine]
        axes.bar(places, heights, width=0.92 * width, color=COLOURS[at % len(COLOURS)], label=f"{clients:,} clients")
        for place, height in zip(places, heights, strict=True):
            label = f"{height / 1000:.1f}k"
            axes.annotate(label, (place, height), (0, 3), textcoords="offset points", ha="center", size=8.5)
    axes.set_title(title, loc="left")
    axes.set_xticks(range(len(layouts)), layouts)
    axes.set_ylim(0, 1.14 * max(values, default=1.0))
    axes.set_yticks([])
    axes.set_xlabel("gateways/detokenizers", color=MUTED)
    _plain(axes)


def _lines(axes: Axes, points: Sequence[Point]) -> None:
    for at, layout in enumerate(dict.fromkeys(str(point.layout) for point in points)):
        mine = sorted((point for point in points if str(point.layout) == layout), key=lambda point: point.rate)
        rate, colour = [point.rate for point in mine], COLOURS[at % len(COLOURS)]
        axes.plot(rate, [point.heard.age_ms.p99 for point in mine], "o-", color=colour, label=layout)
        axes.plot(rate, [point.heard.age_ms.p50 for point in mine], "o--", color=colour, alpha=0.5, markersize=4)
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="y", color=GRID)
    axes.tick_params(colors=INK, which="both")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
