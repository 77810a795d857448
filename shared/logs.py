"""Log lines: JSON for machines, one object a line, or text for people.

A line says which request it belongs to where that is known: the gateway sets `trace` for all that a handler does,
others pass `extra={"trace_id": ...}`. What else is in `extra` becomes a field of its own. No line ever holds a prompt,
an answer, a key or the id of a stream.
"""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

from shared.telemetry.spans import Context

Form = Literal["json", "text"]
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

trace: ContextVar[Context | None] = ContextVar("trace", default=None)  # of what is being worked on


class JsonFormatter(logging.Formatter):
    """`instance` may be learned later than the first line is written."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service
        self.instance = ""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
            "service": self.service,
        }
        if self.instance:
            fields["instance"] = self.instance
        if (context := trace.get()) is not None:
            fields |= {"trace_id": context.trace, "span_id": context.span}
        fields |= extras(record)
        if record.exc_info:
            fields["exception"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """A line as ever; fields of its own follow as JSON."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        if more := extras(record):
            line += " " + orjson.dumps(more, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        return line


def extras(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in USUAL}


def configure(level: str, form: Form, service: str, stream: TextIO | None = None) -> None:
    """All of the process's lines to standard error, from `level` on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def name_instance(instance: str) -> None:
    """Who of several of this service is speaking, from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.formatter.instance = instance


def _encodable(text: str) -> str:
    """Half a surrogate pair, as a request may hold one, is no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
