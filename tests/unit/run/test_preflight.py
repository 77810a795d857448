"""A start that cannot succeed says why before anything is started."""

import socket
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import load
from tools.run import preflight
from tools.run.config import RunConfig
from tools.run.embedded import free_port


def test_a_taken_port_is_named_with_the_flag_to_change() -> None:
    """Found out by binding, so nothing is started for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} .*PORT=.*--port"):
            preflight.check_port("127.0.0.1", port)
    preflight.check_port("127.0.0.1", free_port("127.0.0.1"))


def test_an_address_of_another_machine_is_refused() -> None:
    """192.0.2.0/24 belongs to nobody (RFC 5737)."""
    with pytest.raises(ConfigError, match="--host"):
        preflight.check_port("192.0.2.1", 8000)


def test_a_model_is_a_checkpoint_directory_or_can_be_a_hub_id(tmp_path: Path) -> None:
    """What is plainly neither is refused at once; whether a hub id exists only the hub knows."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for model in (str(tmp_path / "good"), "Qwen/Qwen3-0.6B", "gpt2"):
        preflight.check_model(model)
    for model in (str(tmp_path / "empty"), str(tmp_path / "file"), str(tmp_path / "none"), "models/none", "a/b/c", ""):
        with pytest.raises(ConfigError, match="--model"):
            preflight.check_model(model)


def test_a_distribution_named_kernels_is_refused() -> None:
    """It would be hidden by the folder of that name, and transformers would trip over it much later."""
    with pytest.raises(ConfigError, match="pip uninstall kernels"):
        preflight.check_kernels(lambda name: name == "kernels")
    preflight.check_kernels(lambda name: False)
    assert preflight.installed("pytest")
    assert not preflight.installed("no-such-distribution-at-all")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second says so; once the first has ended, the folder is free."""
    second = preflight.alone(tmp_path / "run")
    with preflight.alone(tmp_path / "run"), pytest.raises(ConfigError, match="--run-dir"):
        second.__enter__()
    with preflight.alone(tmp_path / "run"):
        assert (tmp_path / "run").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "host, key, warned", [("0.0.0.0", "", True), ("0.0.0.0", "k", False), ("127.0.0.1", "", False), ("::1", "", False)]
)
def test_an_open_door_without_a_key_is_warned_of(host: str, key: str, warned: bool) -> None:
    """Loopback needs no key; anything wider does."""
    config = load(RunConfig, "run", "", ["--host", host, "--api-key", key], {})
    assert any("SLUICE_API_KEY" in line for line in preflight.warnings(config)) == warned


def test_a_simulated_device_says_that_it_is_one() -> None:
    """Nobody should take its words for a model's."""
    for device, warned in (("sim", True), ("cpu", False)):
        config = load(RunConfig, "run", "", ["--device", device], {})
        assert any("DEVICE=sim" in line for line in preflight.warnings(config)) == warned
