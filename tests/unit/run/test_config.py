"""What `make run` is told becomes the command lines of its processes."""

import pytest

from shared.errors import ConfigError
from shared.settings import load
from tools.run.config import RunConfig, services, with_aliases


def config(*flags: str, **environ: str) -> RunConfig:
    return load(RunConfig, "run", "", flags, with_aliases(environ))


def test_one_process_each_unless_asked_for_more() -> None:
    """Engines, detokenizers and gateways are numbered from 0; each detokenizer has its shard, and all know how many."""
    asked = config("--engines", "2", "--detokenizers", "2", "--gateways", "1")
    programs = {p.name: " ".join(p.command) for p in services(asked, {})}
    assert list(programs) == ["engine-0", "engine-1", "detokenizer-0", "detokenizer-1", "gateway-0"]
    assert "--engine-name engine-1" in programs["engine-1"]
    assert "--shard 1" in programs["detokenizer-1"]
    assert all("--shards 2" in command for command in programs.values())
    assert len(services(config(), {})) == 3


def test_gateways_share_the_port_only_when_there_are_several() -> None:
    """Alone, a gateway finds out that the port is taken; several bind it together."""
    assert "--reuse-port false" in " ".join(services(config(), {})[-1].command)
    for gateway in services(config("--gateways", "2", "--port", "9000"), {})[-2:]:
        assert "--port 9000 --reuse-port true" in " ".join(gateway.command)


def test_engine_args_go_to_every_engine_and_to_nobody_else() -> None:
    """They are split as a shell would, and stand last so that they win."""
    programs = services(config("--engines=2", "--engine-args=--dtype bfloat16 --note 'a b'"), {})
    assert [p.command[-4:] for p in programs[:2]] == [("--dtype", "bfloat16", "--note", "a b")] * 2
    assert not any("--dtype" in p.command for p in programs[2:])


def test_files_of_keys_and_certificates_go_to_the_gateways_only() -> None:
    """Their names, that is; and the URL says what is spoken."""
    asked = config("--tls-cert", "c", "--tls-key", "k", "--api-keys-file", "f", "--host", "::")
    *others, gateway = services(asked, {})
    assert gateway.command[-6:] == ("--api-keys-file", "f", "--tls-cert", "c", "--tls-key", "k")
    assert not any("--tls-cert" in program.command for program in others)
    assert (asked.url(), asked.url(reached=True)) == ("https://[::]:8000", "https://[::1]:8000")


def test_no_secret_is_on_a_command_line() -> None:
    """Whoever may list processes may read command lines: secrets travel in the environment."""
    asked = config(REDIS_URL="redis://:hush@h", SLUICE_API_KEY="hush", SLUICE_INTERNAL_TOKEN="hush")
    assert asked.redis_url == "redis://:hush@h"
    assert asked.api_key == asked.internal_token == "hush"
    assert not any("hush" in word for p in services(asked, {}) for word in p.command)


@pytest.mark.parametrize(
    "flags, name",
    [
        ((), "sluice-demo"),
        (("--model", "Qwen/Qwen3-0.6B"), "Qwen/Qwen3-0.6B"),
        (("--model", "x", "--served-model-name", "y"), "y"),
    ],
)
def test_a_model_is_served_under_the_string_it_was_given_as(flags: tuple[str, ...], name: str) -> None:
    """Only the demo model has a name of its own; SERVED_MODEL_NAME wins over both."""
    assert config(*flags).name == name
    assert config(*flags, SERVED_MODEL_NAME="z").name == ("y" if name == "y" else "z")


@pytest.mark.parametrize(
    "host, said, reached",
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("::", "http://[::]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_that_means_all_is_reached_by_loopback(host: str, said: str, reached: str) -> None:
    """`ready:` shows the address as it was given; readiness is asked where this machine can."""
    assert config("--host", host).url() == said
    assert config("--host", host).url(reached=True) == reached


@pytest.mark.parametrize(
    "flag, value",
    [("--engines", "0"), ("--gateways", "65"), ("--detokenizers", "-1"), ("--port", "65536"), ("--device", "tpu")],
)
def test_a_value_out_of_range_is_refused_by_the_flags_name(flag: str, value: str) -> None:
    """One line that names the flag and the value."""
    with pytest.raises(ConfigError, match=rf"{flag}\b.*{value}"):
        config(flag, value)


def test_engine_args_that_no_shell_could_split_are_refused() -> None:
    """An open quotation is an error of the flag, not a traceback."""
    with pytest.raises(ConfigError, match="--engine-args"):
        services(config("--engine-args", "--note 'open"), {})
