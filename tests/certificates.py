"""Certificates for tests, made by the openssl command: a root, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Signed:
    certificate: Path
    key: Path


class Root:
    """An authority of the test's own."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        self._folder = folder
        self._name = name
        self.own = self._files(name)
        _openssl("req", "-x509", *EC, "-subj", f"/CN={name}", *self._out(self.own))

    def sign(self, name: str) -> Signed:
        """For 127.0.0.1 and localhost, for servers and clients alike."""
        made = self._files(f"{self._name}-{name}")
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        signed_by = ("-CA", str(self.own.certificate), "-CAkey", str(self.own.key))
        plain = ("-addext", names, "-addext", "basicConstraints=critical,CA:FALSE")
        _openssl("req", "-x509", *EC, "-subj", f"/CN={name}", *plain, *signed_by, *self._out(made))
        return made

    def _files(self, name: str) -> Signed:
        return Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def _out(self, files: Signed) -> tuple[str, ...]:
        return ("-out", str(files.certificate), "-keyout", str(files.key))


def _openssl(*arguments: str) -> None:
    try:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
