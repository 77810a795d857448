"""A configuration that cannot work is refused in one line that names the setting."""

from typing import Any

import pytest

from services.detokenizer.config import DetokenizerConfig
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"shard": 1}, "--shard"),
        ({"shard": -1, "shards": 2}, "--shard"),
        ({"host": "0.0.0.0"}, "--internal-token"),
        ({"host": "detokenizer"}, "--internal-token"),
        ({"max_attached": 0}, "--max-attached"),
        ({"stall_s": 0.0}, "--stall-s"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], named: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match=named):
        DetokenizerConfig(**wrong)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:7"),
        ({"host": "::1"}, "http://[::1]:7"),
        ({"host": "0.0.0.0", "internal_token": "t", "advertise_host": "detokenizer-0"}, "http://detokenizer-0:7"),
        ({"host": "10.0.0.5", "internal_token": "t"}, "http://10.0.0.5:7"),
    ],
)
def test_gateways_are_told_a_url_that_reaches_it(settings: dict[str, Any], url: str) -> None:
    """The advertised name if there is one, else the address it listens on."""
    assert DetokenizerConfig(**settings).url(7) == url


def test_loopback_needs_no_token() -> None:
    """Only processes of this machine can reach it."""
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert not DetokenizerConfig(host=host).internal_token
