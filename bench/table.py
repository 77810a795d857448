"""All figures as one aligned table."""

from collections.abc import Iterator, Sequence

from bench.figures import THEIRS, Row
from bench.parts import Outcome

HEAD = ("section", "figure", "value", "unit", THEIRS, "ratio")
Cells = tuple[str, str, str, str, str, str]


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """An empty line before each section, which is named in its first line; parts that failed come last."""
    lines: list[Cells | None] = [HEAD]
    above = ""
    for outcome in outcomes:
        for row in outcome.rows:
            if row.section != above:
                lines.append(None)
            lines.append(cells(row, "" if row.section == above else row.section))
            above = row.section
    widths = [max(len(line[column]) for line in lines if line) for column in range(len(HEAD))]
    for line in lines:
        yield _aligned(line, widths) if line else ""
    if failed := [outcome for outcome in outcomes if outcome.fault]:
        yield ""
        yield from (f"FAILED: {outcome.name}: {outcome.fault}" for outcome in failed)


def cells(row: Row, section: str) -> Cells:
    peer, ratio = ("" if value is None else shown(value) for value in (row.peer, row.ratio))
    return section, row.figure, shown(row.value), row.unit, peer, ratio


def shown(value: float) -> str:
    """Three digits that say something, and all of a large number or a count."""
    if isinstance(value, int):
        return f"{value:,}"
    for least, form in ((100, ",.0f"), (10, ".1f"), (0.1, ".2f"), (0.0005, ".3f")):
        if abs(value) >= least:
            return format(value, form)
    return "0"


def _aligned(line: Cells, widths: Sequence[int]) -> str:
    section, figure, value, unit, peer, ratio = widths
    form = f"{{:{section}}}  {{:{figure}}}  {{:>{value}}}  {{:{unit}}}  {{:>{peer}}}  {{:>{ratio}}}"
    return form.format(*line).rstrip()
