"""TLS by flags: a certificate, its key, and who signs those of clients. Python's defaults, from version 1.2 on."""

import ssl
from pathlib import Path

from services.gateway.config import GatewayConfig
from shared.errors import ConfigError

CERTIFICATE, KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"


def context(config: GatewayConfig) -> ssl.SSLContext | None:
    """None: plain HTTP. Raises ConfigError naming the flag whose file cannot be used."""
    if not config.tls_cert:
        return None
    _holds(config.tls_cert, "--tls-cert", CERTIFICATE, "certificate")
    _holds(config.tls_key, "--tls-key", KEY, "private key")
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(config.tls_cert, config.tls_key, password=lambda: "")  # else OpenSSL asks the terminal
    except ssl.SSLError as error:
        raise ConfigError(_why(config, error)) from None
    if config.tls_client_ca:
        _holds(config.tls_client_ca, "--tls-client-ca", CERTIFICATE, "certificate")
        try:
            made.load_verify_locations(config.tls_client_ca)
        except ssl.SSLError as error:
            raise ConfigError(f"--tls-client-ca: {config.tls_client_ca}: {error.reason or error}") from None
        made.verify_mode = ssl.CERT_OPTIONAL  # a wrong one fails here; `guard.py` refuses who shows none
    return made


def _holds(path: str, flag: str, mark: bytes, what: str) -> None:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag}: {path}: {error.strerror}") from None
    if mark not in data:
        raise ConfigError(f"{flag}: {path}: there is no {what} in PEM form in it")


def _why(config: GatewayConfig, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"--tls-key: {config.tls_key}: this is not the key of {config.tls_cert} (--tls-cert)"
    if b"ENCRYPTED" in Path(config.tls_key).read_bytes():
        return f"--tls-key: {config.tls_key}: it is encrypted, and nobody is here to type a password"
    return f"--tls-cert, --tls-key: {config.tls_cert}, {config.tls_key}: {error.reason or error}"
