"""Debian packages that the tests use, for a clean machine. Standard library only.

python -m tools.system      what `make test` runs first

Where SLUICE_STRICT=1 says that no test may be skipped, what is missing is installed, by root and with apt-get. On
anybody's own machine nothing is touched: one line says what is missing. It never fails: a test without its program
skips and says why, and is a failure where nothing may be skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping

PACKAGES = {  # a Debian package, and the program by which it is known
    "chromium": "chromium",  # tests/browser
    "prometheus": "promtool",  # tests/architecture/test_observability.py
}
OPTIONS = ("-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3")
LAST_LINES = 5  # of apt-get, when it failed

Which = Callable[[str], str | None]


def missing(packages: Mapping[str, str], which: Which = shutil.which) -> list[str]:
    """The packages whose program is not on the PATH."""
    return [package for package, program in packages.items() if which(program) is None]


def obstacle(*, strict: bool, root: bool, which: Which = shutil.which) -> str | None:
    """Why nothing is installed here; None if it may be."""
    if not strict:
        return "tests that need it are skipped"
    if which("apt-get") is None:
        return "there is no apt-get to install it with"
    return None if root else "only root may install it"


def install(packages: list[str]) -> bool:
    """With apt-get, which is told to ask nothing."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for verb in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", *OPTIONS, *verb],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            say("\n".join([f"apt-get {verb[0]} failed:", *done.stdout.splitlines()[-LAST_LINES:]]))
            return False
    return True


def say(line: str) -> None:
    print(f"system: {line}", flush=True)


def main() -> int:
    wanted = missing(PACKAGES)
    if not wanted:
        say(f"{', '.join(PACKAGES)}: in place")
        return 0
    names = ", ".join(wanted)
    strict = os.environ.get("SLUICE_STRICT", "") not in ("", "0")
    if why_not := obstacle(strict=strict, root=os.geteuid() == 0):
        say(f"{names} not installed, {why_not} (Debian: apt install {' '.join(wanted)})")
        return 0
    say(f"installing {names} with apt-get")
    if install(wanted):
        say(f"{names} installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
