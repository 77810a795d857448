"""The API keys that are known, by their digests only: those of `--api-key`, and a file that may change at any time.

One key a line, `name sha256:<hex>` or `name plain`, then settings of its own, such as `requests_per_minute=60`; `#`
begins a comment. `python -m services.gateway.keys` makes such lines. A message about a line never quotes it.
"""

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b, sha256
from pathlib import Path

from services.gateway.rates import MOST_RATE, Quota
from shared.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks at the file
MOST_BYTES = 4 << 20
MOST_KEYS = 10_000
SETTINGS = tuple(setting.name for setting in fields(Quota))
PREFIX = "sha256:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLAIN = re.compile(r"[!-~]{1,512}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[0-9]{1,13}")

Mark = tuple[int, int, int]  # of one state of the file


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    digest: bytes = field(repr=False)  # SHA-256 of what the client shows
    quota: Quota


def digest_of(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def parse(text: str, defaults: Quota) -> tuple[Key, ...]:
    """Raises ConfigError with the number of the line that is wrong."""
    found: dict[bytes, Key] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = list(_words(line))
        if not words:
            continue
        try:
            key = _key(words, defaults)
            if key.name in names or key.digest in found:
                raise ConfigError("an earlier line has this name or this key")
            if len(found) >= MOST_KEYS:
                raise ConfigError(f"more than {MOST_KEYS} keys")
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from None
        names.add(key.name)
        found[key.digest] = key
    if not found:
        raise ConfigError("there is no key in it: nobody could come in")
    return tuple(found.values())


def _words(line: str) -> Iterator[str]:
    """Up to a comment."""
    for word in line.split():
        if word.startswith("#"):
            return
        yield word


def _key(words: Sequence[str], defaults: Quota) -> Key:
    if len(words) < 2:
        raise ConfigError("needs a name and a key")
    name, shown, *settings = words
    if not NAME.fullmatch(name):
        raise ConfigError("the name must be 1 to 64 letters, digits, dots, dashes and underscores")
    return Key(name, _digest(shown), quota_of(settings, defaults))


def _digest(shown: str) -> bytes:
    if shown.startswith(PREFIX):
        if not _DIGEST.fullmatch(shown.removeprefix(PREFIX)):
            raise ConfigError("behind sha256: there must be 64 hexadecimal digits")
        return bytes.fromhex(shown.removeprefix(PREFIX))
    if not _PLAIN.fullmatch(shown):
        raise ConfigError("the key must be 1 to 512 characters of ASCII that can be seen")
    return digest_of(shown)


def quota_of(settings: Iterable[str], defaults: Quota) -> Quota:
    """Raises ConfigError for a setting that is none."""
    given: dict[str, int] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in SETTINGS:
            raise ConfigError(f"behind the key there can be {', '.join(SETTINGS)}, each with =NUMBER, and nothing else")
        if name in given or not _NUMBER.fullmatch(value) or int(value) > MOST_RATE:
            raise ConfigError(f"{name} must be given once, as a whole number from 0 (no limit) to {MOST_RATE}")
        given[name] = int(value)
    return replace(defaults, **given)


class Keyring:
    """`flags`: keys without a name, under the default quota. Raises ConfigError for a file that cannot be used."""

    def __init__(self, flags: Sequence[str], path: str, defaults: Quota) -> None:
        self._path = Path(path) if path else None
        self._defaults = defaults
        self._secret = secrets.token_bytes(32)
        self._flags = [Key(f"--api-key:{i}", digest_of(key), defaults) for i, key in enumerate(flags, 1)]
        self._mark = _mark(self._path) if self._path else None
        self._known: Mapping[bytes, Key] = {}
        self._reloads = 0
        self._keep(self._read(self._path) if self._path else ())

    @property
    def required(self) -> bool:
        """Without any key everybody may come in."""
        return bool(self._flags or self._path)

    def find(self, authorization: str) -> Key | None:
        """Whose key the header shows. The time that takes tells nothing: the table's places depend on a secret."""
        scheme, _, shown = authorization.partition(" ")
        digest = digest_of(shown.strip())
        key = self._known.get(self._place(digest))
        same = hmac.compare_digest(digest, key.digest if key is not None else bytes(32))
        return key if same and scheme.lower() == "bearer" else None

    async def watch(self) -> None:
        """Follow the file, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._path:
                await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the file again if it has changed; one that cannot be used changes nothing."""
        if self._path is None or (mark := _mark(self._path)) == self._mark:
            return
        self._mark = mark
        try:
            self._keep(self._read(self._path))
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
            return
        self._reloads += 1
        log.info("the keys were read again: %d", len(self._known))

    def statistics(self) -> dict[str, int]:
        return {"known": len(self._known), "reloads": self._reloads}

    def _keep(self, keys: Iterable[Key]) -> None:
        self._known = {self._place(key.digest): key for key in (*self._flags, *keys)}

    def _place(self, digest: bytes) -> bytes:
        return blake2b(digest, key=self._secret, digest_size=16).digest()

    def _read(self, path: Path) -> tuple[Key, ...]:
        """Raises ConfigError."""
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise ConfigError(f"it has more than {MOST_BYTES} bytes")
            return parse(data.decode("utf-8"), self._defaults)
        except OSError as error:
            raise ConfigError(f"--api-keys-file: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"--api-keys-file: {path}: it is not UTF-8") from None
        except ConfigError as error:
            raise ConfigError(f"--api-keys-file: {path}: {error}") from None


def _mark(path: Path) -> Mark | None:
    """None: it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
