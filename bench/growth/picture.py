"""The sweeps as small multiples: both axes logarithmic and alike, so that what is flat looks flat."""

from collections.abc import Sequence
from itertools import chain
from math import ceil
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.growth.series import Sweep, shown
from bench.picture import GRID, INK, MUTED, STYLE

COLUMNS = 3
COLOURS = ("#e0a030", "#4c9f70", "#8e6bb0", "#3b5b92")
TITLE = "What a step costs, and what that grows with"


def draw(sweeps: Sequence[Sweep], about: str, path: Path) -> None:
    """Write a PNG."""
    lines = ceil(len(sweeps) / COLUMNS)
    costs = [cost for sweep in sweeps for cost in chain(*sweep.lines.values())]
    limits = min(costs) / 1.8, max(costs) * 6
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 1.5 + 3.3 * lines), dpi=160, facecolor="white")
        figure.suptitle(TITLE, x=0.02, y=0.975, ha="left", size=15, weight="bold")
        figure.text(0.02, 0.918, about, ha="left", color=MUTED, size=9.5)
        grid = figure.add_gridspec(
            lines, COLUMNS, hspace=0.42, wspace=0.1, left=0.07, right=0.98, top=0.82, bottom=0.075
        )
        for place, sweep in enumerate(sweeps):
            panel = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
            _panel(panel, sweep, limits)
            if place % COLUMNS:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel("ms of CPU time a step", color=MUTED)
        figure.savefig(path)


def _panel(panel: Axes, sweep: Sweep, limits: tuple[float, float]) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(*limits)
    for colour, (line, costs) in zip(COLOURS, sweep.lines.items(), strict=False):
        points = [(size, cost) for size, cost in zip(sweep.sizes, costs, strict=True) if size]
        label = f"{line}: {sweep.word(line)} ({shown(sweep.exponent(line))})"
        panel.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, linewidth=1.6, label=label)
    panel.set_title(f"{sweep.name[0].upper()}{sweep.name[1:]}", loc="left", pad=20)
    panel.text(0, 1.035, sweep.about, transform=panel.transAxes, color=MUTED, size=8.5)
    panel.grid(color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.legend(loc="upper left", frameon=False, fontsize=8, labelcolor=INK, handlelength=1.4, borderaxespad=0.2)
    panel.set_xticks([size for size in sweep.sizes if size])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _short(size)))
    panel.yaxis.set_major_locator(LogLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}"))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="both", length=0)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _short(size: float) -> str:
    if size >= 1024 and size % 1024 == 0:
        return f"{size / 1024:.0f}k"
    return f"{size / 1000:.0f}k" if size >= 10_000 or (size >= 1000 and size % 1000 == 0) else f"{size:.0f}"
