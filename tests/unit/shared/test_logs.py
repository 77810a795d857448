"""Log lines as JSON and as text."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from shared import logs
from shared.telemetry.spans import Context

CONTEXT = Context("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before in the end."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = handlers, level


def test_a_line_is_one_json_object_whatever_is_said(root: logging.Logger) -> None:
    """Time as RFC 3339, who speaks, the exception on the same line; half a character breaks nothing."""
    out = io.StringIO()
    logs.configure("info", "json", "engine", out)
    log = logging.getLogger("sluice.some")
    log.debug("too quiet")
    log.info("ready: %d\nblocks \ud800", 7, extra={"blocks": {1: 2.5}})
    logs.name_instance("e.7")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("broke")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first | {"time": ""} == {
        **{"time": "", "level": "info", "logger": "sluice.some", "service": "engine"},
        **{"message": "ready: 7\nblocks \\ud800", "blocks": {"1": 2.5}},
    }
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert (second["level"], second["instance"]) == ("error", "e.7")
    assert second["exception"].startswith("Traceback") and second["exception"].endswith("ValueError: two\nlines")


def test_a_line_says_which_trace_it_belongs_to(root: logging.Logger) -> None:
    """By the context variable, or by what is passed."""
    out = io.StringIO()
    logs.configure("info", "json", "gateway", out)
    token = logs.trace.set(CONTEXT)
    logging.getLogger("a").info("within")
    logs.trace.reset(token)
    logging.getLogger("a").info("outside")
    logging.getLogger("a").info("told", extra={"trace_id": "t", "span_id": "s"})
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    found = [(line.get("trace_id"), line.get("span_id")) for line in lines]
    assert found == [(CONTEXT.trace, CONTEXT.span), (None, None), ("t", "s")]


def test_text_is_a_line_for_people(root: logging.Logger) -> None:
    out = io.StringIO()
    logs.configure("info", "text", "engine", out)
    logging.getLogger("a.b").warning("listening on %s", "http://127.0.0.1:1")
    logging.getLogger("a.b").info("state", extra={"queue": {"length": 3}})
    one, other = out.getvalue().splitlines()
    assert one.endswith("WARNING a.b: listening on http://127.0.0.1:1")
    assert other.endswith('INFO a.b: state {"queue":{"length":3}}')
