"""Each program of `examples/` as its head says it is run, against the whole set: it ends well and says what is true."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.e2e.reading import EVENT, Reading
from tests.e2e.stack import ROOT, Stack

EXAMPLES = ROOT / "examples"
QUESTION = "Tell me a story about a fox."
ANIMAL = r"(fox|owl|bear)\W+age\W+(1?\d|20)\W*"


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What the program prints. No key of whoever runs the tests reaches it."""
    names = ("OPENAI_", "SLUICE_API_KEY", "MODEL", "QUESTION", "LANGSMITH_", "LANGCHAIN_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def told(client: AsyncOpenAI) -> tuple[str, str]:
    """The story that all of them ask for, at once, and how many tokens it has, as they print it."""
    whole = await client.chat.completions.create(
        model="sluice-demo", messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert whole.usage
    return whole.choices[0].message.content or "", f"({whole.usage.completion_tokens} tokens)"


async def test_curl_is_cut_and_resumed(stack: Stack, client: AsyncOpenAI) -> None:
    """The events that it prints are those of an uncut answer, each once, whatever the cut left of one."""
    lines = run("sh", EXAMPLES / "curl.sh", stack.url)
    before, cut, after = re.split(r"^: cut; (chatcmpl-\S+ goes on behind event \d+)\n", lines, flags=re.MULTILINE)
    reading = Reading()
    reading.take(before.encode())
    assert reading.text and not reading.done and cut.endswith(f"event {reading.cursor}")
    reading.take(after.encode())
    assert (reading.text, reading.done) == ((await told(client))[0], True)
    ids = [id for id, _ in EVENT.findall(lines.encode()) if id]
    assert len(ids) == len(set(ids))


async def test_openai_for_python(stack: Stack, client: AsyncOpenAI) -> None:
    """The demo model takes no tools, and the example says so."""
    story, counted, *rest = run(sys.executable, EXAMPLES / "openai_python.py", stack.url).splitlines()
    assert (story, counted) == await told(client)
    refused, schema = rest
    assert refused.startswith("no tools: tools cannot be used")
    assert re.fullmatch(rf"schema: \{{'animal': '{ANIMAL}", schema)


async def test_openai_for_node(stack: Stack, client: AsyncOpenAI, tmp_path: Path) -> None:
    """Installed as the lock file says, in a folder of its own."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node or no npm on the PATH (Debian: apt install nodejs npm)")
    for name in ("package.json", "package-lock.json", "openai_node.mjs"):
        shutil.copy(EXAMPLES / name, tmp_path)
    npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    installed = subprocess.run(npm, cwd=tmp_path, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm ci failed: {installed.stderr[-1000:]}")
    story, counted, schema = run("node", "openai_node.mjs", stack.url, folder=tmp_path).splitlines()
    assert (story, counted) == await told(client)
    assert re.fullmatch(rf'schema: \{{"animal":"{ANIMAL}', schema)


async def test_langchain(stack: Stack, client: AsyncOpenAI) -> None:
    story, counted, schema = run(sys.executable, EXAMPLES / "langchain_python.py", stack.url).splitlines()
    assert (story, counted) == await told(client)
    assert re.fullmatch(rf"schema: animal='{ANIMAL}", schema)
