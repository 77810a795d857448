"""What can be known to be wrong before anything is started. Each check raises ConfigError with the flag to change."""

import errno
import fcntl
import importlib.metadata
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigError
from tools.run.config import DEMO_MODEL, LOOPBACK, RunConfig

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check(config: RunConfig) -> None:
    check_kernels(installed)
    check_model(config.model)
    check_port(config.host, config.port)


def installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_kernels(is_installed: Callable[[str], bool]) -> None:
    """Our folder of that name would hide the package from transformers, which then breaks in places hard to find."""
    if is_installed("kernels"):
        raise ConfigError("the package `kernels` is installed and collides with Sluice's own: pip uninstall kernels")


def check_model(model: str) -> None:
    """A directory with a config.json, or something that can be a Hugging Face id."""
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"MODEL={model} (--model) holds no config.json: not a Hugging Face checkpoint")
        return
    if model == DEMO_MODEL:
        raise ConfigError(f"{DEMO_MODEL} is not there: fetch the whole repository, or train it again (make demo-model)")
    local = not HUB_ID.fullmatch(model) or ("/" in model and path.parent.is_dir())
    if path.exists() or local:
        raise ConfigError(f"MODEL={model} (--model): no such directory, and not a Hugging Face id")


def check_port(host: str, port: int) -> None:
    """Can `host:port` be listened on right now?"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(_why(host, port, error)) from None


def warnings(config: RunConfig) -> Iterator[str]:
    if config.host not in LOOPBACK and not config.api_key and not config.api_keys_file:
        yield f"HOST={config.host} is open to whoever reaches this machine, and no key is asked for (SLUICE_API_KEY)"
    if config.device == "sim":
        yield "DEVICE=sim computes nothing: answers are random words, in the time that a GPU would take"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the lock goes with the process, however that ends."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts lie in Redis's files
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder} (--run-dir): {error.strerror}") from None
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another `make run` is using {folder}: end it, or give this one its own --run-dir") from None


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: end what listens there, or choose another by PORT= (--port)"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is for the administrator: choose one above 1023 by PORT= (--port)"
    return f"cannot listen on HOST={host} (--host): {error.strerror or error}"
