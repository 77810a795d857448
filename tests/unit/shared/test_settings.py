"""Flags and environment become one frozen value, and what is wrong is named."""

from dataclasses import dataclass
from typing import Literal

import pytest

from shared.errors import ConfigError
from shared.settings import CommonConfig, load, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(CommonConfig):
    size: int = option(4, "how many, in % of all")
    share: float = option(0.5, "how much")
    fast: bool = option(True, "whether")
    colour: Literal["red", "blue"] = option("red", "which")
    limit: int | None = option(None, "at most")


def read(*argv: str, **environ: str) -> Config:
    return load(Config, "prog", "about", argv, environ)


def test_defaults_hold_where_nothing_is_said() -> None:
    assert read() == Config()


def test_a_flag_wins_over_its_variable() -> None:
    config = read("--size", "7", SLUICE_SIZE="5", SLUICE_FAST="no", SLUICE_LIMIT="")
    assert (config.size, config.fast, config.limit) == (7, False, None)
    assert read("--limit=9", "--share", "1e-3", "--colour", "blue").limit == 9


@pytest.mark.parametrize(
    ("argv", "environ", "culprit"),
    [
        (["--size", "many"], {}, "--size"),
        (["--share", "x"], {}, "--share"),
        (["--colour", "green"], {}, "--colour must be one of red, blue"),
        ([], {"SLUICE_FAST": "perhaps"}, "SLUICE_FAST"),
        ([], {"SLUICE_SIZE": "1.5"}, "SLUICE_SIZE"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_it_came_under(
    argv: list[str], environ: dict[str, str], culprit: str
) -> None:
    with pytest.raises(ConfigError, match=culprit):
        read(*argv, **environ)


def test_help_lists_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        read("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert done.value.code == 0
    for name in ("size", "share", "fast", "colour", "limit", "redis_url", "served_model_name"):
        assert f"--{name.replace('_', '-')}" in text and f"SLUICE_{name.upper()}" in text
    assert "in % of all [SLUICE_SIZE; default 4]" in text
    assert "[SLUICE_FAST; default true]" in text and "[red|blue; SLUICE_COLOUR; default red]" in text
    assert "at most [SLUICE_LIMIT]" in text


def test_the_served_name_is_the_model_unless_one_is_given() -> None:
    assert read("--model", "a/b").name == "a/b"
    assert read("--model", "a/b", "--served-model-name", "c").name == "c"
