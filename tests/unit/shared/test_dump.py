"""A process says what it is at when it is asked to, by a signal."""

import json
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROCESS = """
import asyncio, os, signal
from shared import dump, logs

class Owner:
    async def wait(self):
        print("up", flush=True)
        await asyncio.Event().wait()

async def lived():
    with dump.on_signal(lambda: {"queue": {"length": 3}}):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Owner().wait(), name="owner")
            await asyncio.Event().wait()

logs.configure("error", "json", "engine")
asyncio.run(lived())
"""


def test_a_signal_asks_a_process_what_it_is_at() -> None:
    """One line with the state of its owners and where each task waits, whatever the log's level; and it lives on."""
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        try:
            assert process.stdout.readline() == "up\n"
            for _ in range(2):
                process.send_signal(signal.SIGUSR1)
                line = json.loads(process.stderr.readline())
                assert (line["message"], line["service"], line["state"]) == (
                    "state",
                    "engine",
                    {"queue": {"length": 3}},
                )
                tasks = {task["name"]: task["waits"] for task in line["tasks"]}
                outermost, innermost = tasks["owner"][0], tasks["owner"][-1]
                assert outermost.endswith(" wait") and innermost.startswith("asyncio/locks.py:")
                assert not any("/home" in place or place.startswith("/") for place in tasks["owner"])
        finally:
            process.kill()
