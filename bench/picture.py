"""The ablation as a picture: bars for all eight ways, and a few steps of the oldest above the newest.

Both timelines have one scale, and every axis begins at zero.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.engine_run import NEW, OLD, Measured, Way
from bench.probes import Span

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dee4"
STEP, OTHERS, IDLE, HATCH = "#3b5b92", "#a9b8d0", "#fbe3e0", "#dba59d"
PARTS = {"plan": "#e0a030", "submit": "#4c9f70", "commit": "#8e6bb0", "detokenize": "#c8553d", "other": "#b6bec7"}
TITLE = "The old ways and the new one, on the same load"
SHOWN = 4  # steps in the timeline whose steps are shorter
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "hatch.linewidth": 0.6,
}


def draw(ways: Mapping[Way, Measured], told: Mapping[str, Any], path: Path) -> None:
    """Write a PNG. `ways` are the medians, `told` what `ablation.document` says of machine and load."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 8.6), dpi=160, facecolor="white")
        grid = figure.add_gridspec(
            3, 4, height_ratios=(3.1, 1, 1), hspace=0.42, wspace=0.16, left=0.215, right=0.975, top=0.85, bottom=0.115
        )
        figure.suptitle(TITLE, x=0.02, y=0.975, ha="left", size=15, weight="bold")
        figure.text(0.02, 0.908, _about(told), ha="left", color=MUTED, size=9.5)
        _bars([figure.add_subplot(grid[0, column]) for column in range(4)], ways)
        lower = [figure.add_subplot(grid[line, :]) for line in (1, 2)]
        _timelines(lower, ways)
        figure.legend(handles=_legend(), loc="lower center", ncols=7, frameon=False, fontsize=9, handlelength=1.2)
        figure.savefig(path)


def _legend() -> list[Patch]:
    idle = Patch(facecolor=IDLE, edgecolor=HATCH, hatch="////", label="device idle")
    parts = [Patch(color=colour, label=f"loop: {name}") for name, colour in PARTS.items()]
    return [Patch(color=STEP, label="device computes"), idle, *parts]


def _about(told: Mapping[str, Any]) -> str:
    machine, load = told["machine"], told["load"]
    device = f"{machine['cores']} shared CPU cores" if machine["device"] == "cpu" else machine["device"]
    size = f"{load['requests']} requests at once, prompts of {load['prompt']} tokens, {load['tokens']} drawn for each"
    return (
        f"{told['model']} model, {device}; {size}.\nMedians of {load['repeat']} interleaved runs; "
        "a shared machine's own drift shows in tokens / s far more than in the other three"
    )


def _bars(panels: Sequence[Axes], ways: Mapping[Way, Measured]) -> None:
    names, all = [str(way).replace(", ", " · ") for way in ways], list(ways.values())
    colours = [STEP if way == NEW else OTHERS for way in ways]
    rate, busy, cpu, size = panels
    for panel, title, values, shown in (
        (rate, "output tokens / s", [one.tokens_per_s for one in all], "{:,.0f}"),
        (busy, "device busy, %", [100 * one.busy_share for one in all], "{:.1f}"),
        (size, "sent to device, KiB/step", [one.bytes_per_step / 1024 for one in all], "{:.1f}"),
    ):
        panel.barh(names, values, color=colours, height=0.66)
        _finish(panel, title, values, shown)
    starts = [0.0] * len(all)
    for part, colour in PARTS.items():
        values = [max(0.0, one.cpu_ms.get(part, 0.0)) for one in all]
        cpu.barh(names, values, left=starts, color=colour, height=0.66)
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    _finish(cpu, "loop CPU, ms / step", starts, "{:.2f}")
    for panel in (busy, cpu, size):
        panel.set_yticklabels([])
    for label, way in zip(rate.get_yticklabels(), ways, strict=True):
        label.set_fontweight("bold" if way in (OLD, NEW) else "normal")


def _finish(panel: Axes, title: str, values: Sequence[float], shown: str) -> None:
    """Axes begin at zero; each bar says its value."""
    panel.set_title(title, loc="left", pad=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.32 * max(values))
    for at, value in enumerate(values):
        panel.text(value + 0.02 * max(values), at, shown.format(value), va="center", size=9)
    panel.xaxis.set_visible(False)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)


def _timelines(panels: Sequence[Axes], ways: Mapping[Way, Measured]) -> None:
    cuts = [_middle(ways[way]) for way in (OLD, NEW)]
    length = min(1000 * (end - begin) for begin, end in cuts)
    for panel, way, (begin, _) in zip(panels, (OLD, NEW), cuts, strict=True):
        _timeline(panel, ways[way], begin, length)
        whose, idle = "The old way" if way == OLD else "The new way", 1 - ways[way].busy_share
        panel.set_title(f"{whose}: {way}. The device idles {idle:.1%} of the run", loc="left")
    panels[0].set_xticklabels([])
    panels[1].set_xlabel("milliseconds", color=MUTED)


def _middle(run: Measured) -> tuple[float, float]:
    """From the begin of a step in the middle of the run to the begin of the one SHOWN steps later."""
    first = max(0, len(run.device) // 2 - SHOWN // 2)
    last = min(first + SHOWN, len(run.device) - 1)
    return run.device[first].begin, run.device[last].begin


def _timeline(panel: Axes, run: Measured, begin: float, length: float) -> None:
    def cut(spans: Sequence[Span]) -> list[tuple[str, float, float]]:
        """(name, start, duration) in milliseconds, as far as they are within."""
        moved = [(s.name, max(0.0, 1000 * (s.begin - begin)), min(length, 1000 * (s.end - begin))) for s in spans]
        return [(name, start, end - start) for name, start, end in moved if end > start]

    panel.broken_barh([(0, length)], (0, 0.8), facecolor=IDLE, edgecolor=HATCH, hatch="////", linewidth=0)
    panel.broken_barh(
        [part[1:] for part in cut(run.device)], (0, 0.8), facecolor=STEP, edgecolor="white", linewidth=0.8
    )
    for name, colour in PARTS.items():
        panel.broken_barh([part[1:] for part in cut(run.loop) if part[0] == name], (1, 0.8), facecolor=colour)
    panel.set_yticks([0.4, 1.4], ["device", "loop"])
    panel.set_xlim(0, length)
    panel.set_ylim(-0.1, 1.9)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
