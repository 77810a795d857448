"""Everything that was measured, its one owner: rows as they come, and the JSON and Markdown that hold them.

Both files are written anew after each row, so that a run which is cut short leaves what it had. No torch here.
"""

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

Value = float | str | bool
Figures = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one subject: a kernel, a model, a card."""

    subject: str
    figures: Figures
    note: str = ""


@dataclass(slots=True)
class Outcome:
    """How a section went; `state` is one of waiting, running, done, failed, late."""

    title: str
    state: str = "waiting"
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # tables that are longer than a row


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: str
    measured: str
    verdict: str  # reached, missed, not measured


class Report:
    """Any thread may add; the files are consistent at any time."""

    def __init__(self, folder: Path, name: str, about: Mapping[str, str], titles: Mapping[str, str]) -> None:
        """`about`: command, date and the like. `titles` names the sections, in their order."""
        folder.mkdir(parents=True, exist_ok=True)
        self.json, self.markdown = folder / f"{name}.json", folder / f"{name}.md"
        self._about = dict(about)
        self._sections = {section: Outcome(title) for section, title in titles.items()}
        self._verdicts: list[Verdict] = []
        self._lock = threading.Lock()

    def begin(self, section: str) -> None:
        with self._lock:
            self._sections[section].state = "running"
            self._write()

    def add(self, section: str, row: Row) -> None:
        with self._lock:
            self._sections[section].rows.append(row)
            self._write()

    def text(self, section: str, name: str, text: str) -> None:
        with self._lock:
            self._sections[section].texts[name] = text
            self._write()

    def end(self, section: str, state: str, seconds: float, reasons: Sequence[str] = ()) -> None:
        with self._lock:
            outcome = self._sections[section]
            outcome.state, outcome.seconds, outcome.reasons = state, round(seconds, 1), list(reasons)
            self._write()

    def judge(self, verdicts: Sequence[Verdict]) -> None:
        with self._lock:
            self._verdicts = list(verdicts)
            self._write()

    def known(self) -> dict[str, dict[str, dict[str, Value]]]:
        """section -> subject -> figure -> value; what later sections and the verdict look at."""
        with self._lock:
            found: dict[str, dict[str, dict[str, Value]]] = {}
            for name, outcome in self._sections.items():
                subjects = found.setdefault(name, {})
                for row in outcome.rows:
                    subjects.setdefault(row.subject, {}).update(row.figures)
            return found

    @property
    def states(self) -> dict[str, str]:
        with self._lock:
            return {name: outcome.state for name, outcome in self._sections.items()}

    def _write(self) -> None:
        told = {
            "about": self._about,
            "verdicts": [asdict(verdict) for verdict in self._verdicts],
            "sections": {name: asdict(outcome) for name, outcome in self._sections.items()},
        }
        _replace(self.json, json.dumps(told, indent=2) + "\n")
        _replace(self.markdown, markdown(self._about, self._verdicts, self._sections.values()))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of Markdown; the first column is text, the others are numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def markdown(about: Mapping[str, str], verdicts: Sequence[Verdict], sections: Iterable[Outcome]) -> str:
    parts = ["# gpu-check", table(("", "of this run"), [(name, value) for name, value in about.items()])]
    if verdicts:
        parts += ["## Verdict", table(("goal", "measured", ""), [(v.goal, v.measured, v.verdict) for v in verdicts])]
    for outcome in sections:
        parts.append(f"## {outcome.title}\n\n{outcome.state}, {outcome.seconds:g} s")
        parts += [f"> {reason}" for reason in outcome.reasons]
        for names, rows in groupby(outcome.rows, key=lambda row: tuple(row.figures)):
            cells = [[row.subject, *(shown(*figure) for figure in row.figures.items())] for row in rows]
            parts.append(table(("", *names), cells))
        parts += [f"{row.subject}: {row.note}" for row in outcome.rows if row.note]
        parts += [f"### {name}\n\n```\n{text}\n```" for name, text in outcome.texts.items()]
    return "\n\n".join(parts) + "\n"


def shown(name: str, value: Value) -> str:
    """Shares as percent, other numbers with three digits at least."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, str):
        return value
    if "share" in name:
        return f"{value:.1%}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _replace(path: Path, text: str) -> None:
    """At once: a reader finds the old text or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
