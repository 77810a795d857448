"""Installs what pyproject.toml lists, at the versions of constraints.txt. Standard library only: it runs first.

python -m tools.install venv .venv gateway engine     a virtual environment with those extras
python -m tools.install list gateway                  the requirements alone, one per line (for an image)
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN = ("Downloading", "Building", "Installing", "ERROR", "error:")  # of pip's lines, those that say where it stands


def requirements(extras: list[str]) -> list[str]:
    """The common dependencies and those of the extras, in order, each once. Errors: KeyError for no such extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return list(dict.fromkeys(wanted))


def install(venv: Path, extras: list[str], pip_args: list[str]) -> int:
    """Make `venv` if it is not there and install into it; returns pip's exit status."""
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"creating {venv} with Python {sys.version.split()[0]}")
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
        if made.returncode:
            say((made.stdout + made.stderr).strip().replace("\n", " "))
            return made.returncode
    say(f"installing packages ({', '.join(extras)}); the first time takes a few minutes")
    command = [str(python), "-m", "pip", "install", "--progress-bar=off", "-c", str(ROOT / "constraints.txt")]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    pip = subprocess.Popen(
        [*command, *pip_args, *requirements(extras)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert pip.stdout is not None
    for line in pip.stdout:
        if (text := line.strip()).startswith(SHOWN):
            say(text if len(text) <= 110 else text[:107] + "...")
    status = pip.wait()
    say("packages are in place" if status == 0 else "pip failed: the lines above say why")
    return status


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.install", description="Install what pyproject.toml lists.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    venv = verbs.add_parser("venv", help="make a virtual environment and install into it")
    venv.add_argument("path", type=Path)
    venv.add_argument("--pip-args", default="", help='more arguments for pip, as one string, e.g. "--no-index"')
    verbs.add_parser("list", help="print the requirements")
    for verb in verbs.choices.values():
        verb.add_argument("extras", nargs="*", metavar="EXTRA", help="gateway, engine, detokenizer, run, test, lint")
    args = parser.parse_args()
    if args.verb == "venv":
        return install(args.path, args.extras, args.pip_args.split())
    print("\n".join(requirements(args.extras)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
