"""The comparison as a picture: a panel for each model, bars of both systems for each load.

What they show is output tokens a second; where both got the same requests a second, how long the slowest wait.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.picture import INK, MUTED, OTHERS, STEP, STYLE
from bench.vs_vllm.report import FIGURES, pair
from bench.vs_vllm.rounds import Case, Compared, shown
from bench.vs_vllm.systems import PEER, SLUICE

THICK = 0.36
SPEED, WAIT = "output tokens / s", "TTFT p99, ms"


def draw(models: Mapping[str, Compared], told: Mapping[str, Any], path: Path) -> None:
    """Write a PNG. `told` is what `report.document` says."""
    most = max(len(_alike(of)) for of in models.values())
    height = 1.45 + 0.75 * most
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, height), dpi=160, facecolor="white")
        panels = figure.subplots(1, len(models), squeeze=False)[0]
        figure.subplots_adjust(left=0.1, right=0.97, top=1 - 1.2 / height, bottom=0.2 / height, wspace=0.3)
        names = [name for name in (SLUICE, PEER) if name in next(iter(models.values())).footprints]
        figure.suptitle(" and ".join(names), x=0.02, y=1 - 0.12 / height, va="top", ha="left", size=15, weight="bold")
        figure.text(0.02, 1 - 0.5 / height, _about(models, told), ha="left", va="top", color=MUTED, size=9.5)
        for panel, (name, of) in zip(panels, models.items(), strict=True):
            _bars(panel, name, of)
        figure.savefig(path)


def _about(models: Mapping[str, Compared], told: Mapping[str, Any]) -> str:
    machine, load = told["machine"], next(iter(models.values())).cases[0].load
    return (
        f"{machine['cores']} cores of {machine['processor']}; bfloat16, {load.tokens_in} tokens in, "
        f"{load.tokens_out} out; medians of {told['rounds']} interleaved rounds"
    )


def _alike(of: Compared) -> list[Case]:
    """What one panel can show: clients, or requests a second, as the first case has it."""
    return [case for case in of.cases if (case.load.rate is None) == (of.cases[0].load.rate is None)]


def _bars(panel: Axes, name: str, of: Compared) -> None:
    shows = SPEED if of.cases[0].load.rate is None else WAIT
    cases = _alike(of)
    found = [pair(case, FIGURES[shows][1]) for case in cases]
    most = max([value for one in found for value in (one.sluice, one.peer) if value] or [1.0])
    for at, one in enumerate(found):
        for offset, value, system, colour in (
            (-THICK / 2, one.sluice, SLUICE, STEP),
            (THICK / 2, one.peer, PEER, OTHERS),
        ):
            if value is None:
                continue
            panel.barh(at + offset, value, height=THICK * 0.94, color=colour)
            ratio = f"  ×{one.ratio:.2f}" if one.ratio and system == SLUICE else ""
            panel.text(
                value + 0.02 * most, at + offset, f"{system} {value:,.0f}{ratio}", va="center", size=9, color=INK
            )
    panel.set_title(f"model {name}: {shows}", loc="left", pad=8)
    panel.set_yticks(range(len(found)), [shown(case.load) for case in cases])
    panel.set_xlim(0, 1.45 * most)
    panel.invert_yaxis()
    panel.xaxis.set_visible(False)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
