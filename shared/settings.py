"""Flags and environment into a frozen dataclass, read once at start.

Each field of a config dataclass is a flag `--field-name` and a variable `SLUICE_FIELD_NAME`; the flag wins. Fields are
declared with `option(default, help)`; their annotation says how text becomes a value (str, int, float, bool, a Literal,
or one of these `| None`, where an empty text means None).
"""

import argparse
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from shared.errors import ConfigError

C = TypeVar("C")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def option(default: Any, help: str) -> Any:
    """A field of a config dataclass: its default and what `--help` says of it."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonConfig:
    """What every service must be told."""

    redis_url: str = option("redis://127.0.0.1:6379/0", "where the bus is; redis://[:password@]host:port/db or unix://")
    model: str = option("models/demo", "a directory in Hugging Face format, or a Hugging Face id")
    served_model_name: str = option("", "the name clients call the model by; the value of --model if empty")
    shards: int = option(1, "number of detokenizer shards; the same for all services")
    log_level: Literal["debug", "info", "warning", "error"] = option("info", "least severe log line to print")
    log_format: Literal["json", "text"] = option("json", "log lines as JSON objects, or as text for people")
    trace_slow_s: float = option(
        0.0, "requests that take longer are traced though OTEL_TRACES_SAMPLER did not choose them, seconds; 0: none"
    )

    @property
    def name(self) -> str:
        """The served name: what clients ask for and what the bus keys hold."""
        return self.served_model_name or self.model


def load(config: type[C], prog: str, about: str, argv: Sequence[str], environ: Mapping[str, str]) -> C:
    """Raises ConfigError naming the flag or variable whose value is wrong; argparse answers --help itself."""
    hints = get_type_hints(config)
    parser = argparse.ArgumentParser(prog, description=about)
    for f in fields(config):  # type: ignore[arg-type]  # any dataclass
        flag = "--" + f.name.replace("_", "-")
        text = f"{f.metadata.get('help', '')} [{_choices(hints[f.name])}SLUICE_{f.name.upper()}{_default(f.default)}]"
        parser.add_argument(flag, metavar=f.name.upper(), default=argparse.SUPPRESS, help=text.replace("%", "%%"))
    given = vars(parser.parse_args(argv))
    values: dict[str, Any] = {}
    for f in fields(config):  # type: ignore[arg-type]
        variable = f"SLUICE_{f.name.upper()}"
        if f.name in given:
            values[f.name] = _convert(hints[f.name], given[f.name], "--" + f.name.replace("_", "-"))
        elif variable in environ:
            values[f.name] = _convert(hints[f.name], environ[variable], variable)
        elif f.default is MISSING:
            raise ConfigError(f"--{f.name.replace('_', '-')} (or {variable}) is needed")
    return config(**values)


def _choices(hint: Any) -> str:
    return "|".join(map(str, get_args(hint))) + "; " if get_origin(hint) is Literal else ""


def _default(value: Any) -> str:
    if value is MISSING or value is None or value == "":
        return ""
    return f"; default {str(value).lower() if isinstance(value, bool) else value}"


def _convert(hint: Any, text: str, where: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [a for a in get_args(hint) if a is not type(None)]
        return None if text == "" else _convert(inner[0], text, where)
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ConfigError(f"{where} must be one of {', '.join(get_args(hint))}, not {text!r}")
        return text
    if hint is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ConfigError(f"{where} must be true or false, not {text!r}")
        return text.lower() in _TRUE
    try:
        return hint(text)
    except ValueError:
        raise ConfigError(f"{where} must be of type {hint.__name__}, not {text!r}") from None
