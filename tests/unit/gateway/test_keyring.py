"""API keys: how a file of them reads, who is found, and what a changed file does to a running gateway."""

import logging
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from services.gateway import keyring
from services.gateway.keyring import Keyring, parse
from services.gateway.rates import Quota
from shared.errors import ConfigError
from tests.unit.gateway.fakes import a_world, error_of, until

DEFAULT = Quota(requests_per_minute=5)
SECRET = "sk-very-secret"
DIGEST = sha256(SECRET.encode()).hexdigest()


def a_ring(path: Path, text: str, *flags: str) -> Keyring:
    path.write_text(text)
    return Keyring(flags, str(path), DEFAULT)


def test_a_line_has_a_name_a_key_or_its_digest_and_settings_of_its_own() -> None:
    """What a line does not set is the flag's."""
    two = f" two\tsha256:{DIGEST.upper()} concurrent=2 tokens_per_minute=9 # why"
    keys = parse(f"# all\n\none plain-key\n{two}\n", DEFAULT)
    assert [(key.name, key.quota) for key in keys] == [("one", DEFAULT), ("two", Quota(5, 9, 2))]
    assert [key.digest.hex() for key in keys] == [sha256(b"plain-key").hexdigest(), DIGEST]
    assert parse("one plain requests_per_minute=0", DEFAULT)[0].quota == Quota()
    assert DIGEST not in repr(keys) and str(keys[0].digest) not in repr(keys)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        f"na/me {SECRET}",
        f"{'n' * 65} {SECRET}",
        f"name sha256:{SECRET}",
        f"name sha256:{DIGEST}0",
        f"name {SECRET}\u00e9",
        f"name {SECRET * 50}",
        f"name {SECRET} {SECRET}",
        f"name {SECRET} concurrent={SECRET}",
        f"name {SECRET} concurrent=-1",
        f"name {SECRET} concurrent=1 concurrent=1",
        f"name {SECRET} concurrent=99999999999999999999",
        f"first {SECRET}",
        f"name sha256:{sha256(b'k').hexdigest()}",
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_never_quoted(line: str) -> None:
    """A name that is there twice, or a key, is a bad line too."""
    with pytest.raises(ConfigError, match="line 3: ") as refusal:
        parse(f"first k\n\n{line}\n", DEFAULT)
    assert SECRET not in str(refusal.value) and DIGEST not in str(refusal.value)


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"\xff\xfe", b"a b\n" * 2_000_000])
def test_a_file_without_a_key_in_it_stops_the_start(tmp_path: Path, data: bytes) -> None:
    """Else nobody could come in; and never everybody."""
    path = tmp_path / "keys"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="--api-keys-file"):
        Keyring((), str(path), DEFAULT)
    with pytest.raises(ConfigError, match="No such file"):
        Keyring((), str(tmp_path / "missing"), DEFAULT)


def test_who_shows_a_key_is_known_by_its_name(tmp_path: Path) -> None:
    ring = a_ring(tmp_path / "keys", f"one plain\ntwo sha256:{DIGEST}\n", "flag")
    names = [key.name if (key := ring.find(f"Bearer {shown}")) else None for shown in ("plain", SECRET, "flag", DIGEST)]
    assert names == ["one", "two", "--api-key:1", None]
    for header in ("", "plain", "Basic plain", "Bearer", "Bearer plain plain", "Bearer " + "\udcff"):
        assert ring.find(header) is None, header
    assert ring.required and not Keyring((), "", DEFAULT).required


def test_a_file_that_changed_counts_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is complained of once, by its line."""
    path = tmp_path / "keys"
    ring = a_ring(path, "one plain\n")
    path.write_text("two other\n")
    ring.look()
    assert ring.find("Bearer plain") is None and ring.find("Bearer other")
    for broken in ("two other\nthree\n", "", None):
        caplog.clear()
        path.unlink() if broken is None else path.write_text(broken)
        ring.look()
        ring.look()
        [record] = caplog.records
        assert record.levelno == logging.ERROR and "stay as they were" in record.getMessage()
        assert ring.find("Bearer other")
    path.write_text("three third\n")
    ring.look()
    assert ring.find("Bearer third") and ring.find("Bearer other") is None
    assert ring.statistics() == {"known": 1, "reloads": 2}


async def test_a_running_gateway_follows_its_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was taken out is refused, who was added comes in, and nothing was started again."""
    monkeypatch.setattr(keyring, "LOOK_S", 0.01)
    path = tmp_path / "keys"
    path.write_text("one plain\n")
    async with a_world(checkpoint, api_keys_file=str(path)) as world:

        async def status(key: str) -> int:
            async with world.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}) as response:
                return response.status

        assert (await status("plain"), await status("other")) == (200, 401)
        async with world.http.get("/v1/models") as response:
            assert (await error_of(response))["code"] == "invalid_api_key"
        path.write_text("two other\n")
        await until(lambda: world.deps.keyring.statistics()["reloads"] == 1)
        assert (await status("plain"), await status("other")) == (401, 200)


def keys_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.gateway.keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "error"})


def test_the_command_shows_a_key_once_and_prints_the_line_that_knows_it(tmp_path: Path) -> None:
    made = keys_command("ada", "concurrent=8")
    assert made.returncode == 0 and made.stdout.count("\n") == 1
    key = made.stderr.split()[-1]
    assert key.startswith("sk-") and len(key) > 40 and key not in made.stdout
    found = a_ring(tmp_path / "keys", made.stdout).find(f"Bearer {key}")
    assert found and (found.name, found.quota.concurrent) == ("ada", 8)
    assert keys_command("ada").stderr.split()[-1] != key


@pytest.mark.parametrize("arguments", [(), ("a b",), ("ada", "speed=5"), ("ada", "concurrent=x"), ("--no-such",)])
def test_the_command_makes_no_line_that_the_gateway_would_refuse(arguments: tuple[str, ...]) -> None:
    made = keys_command(*arguments)
    assert (made.returncode, made.stdout) == (2, "") and made.stderr
