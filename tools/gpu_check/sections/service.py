"""The same workload through the whole set, as a user starts it: embedded Redis, engine, detokenizers, gateways; and
processes that stream every answer. Output tokens in a second, from the moment the clients may send to the last byte of
the last answer, as a share of the figure offline.

Before it runs one pass with other prompts and short answers, so that nothing is compiled or allocated on the way.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, STDOUT
from typing import IO, Any

from tools.gpu_check.job import Failed, Job
from tools.gpu_check.sections.offline import LONGEST, WARM, model_workload
from tools.gpu_check.settings import ROOT
from tools.gpu_check.shapes import CONFIGS, write_config
from tools.gpu_check.verdict import OFFLINE_SHARE
from tools.gpu_check.vocabulary import write_tokenizer
from tools.gpu_check.workload import Ask, tokens_out

READY = re.compile(r"^ready: (http://\S+)$")
GRACE_S = 10.0
LOG_LINES = 30  # of each log, where something went wrong


def run(job: Job) -> None:
    model, settings = job.part, job.settings
    folder = write_tokenizer(CONFIGS[model]["vocab_size"], write_config(model, job.folder / model))
    asks = model_workload(model, settings.requests, dry=settings.dry)
    others = model_workload(model, settings.requests, dry=settings.dry, seed=1)
    with service_set(job, folder, model) as url:
        with clients(url, model, [Ask(ask.prompt, min(ask.tokens, WARM)) for ask in others], settings.clients) as load:
            load()
        with clients(url, model, asks, settings.clients) as load:
            began, heard = load()
    tokens, last = sum(one["tokens"] for one in heard), max(one["last"] for one in heard)
    if tokens != tokens_out(asks):
        raise Failed(f"{tokens} tokens came, {tokens_out(asks)} were asked for")
    rate = tokens / (last - began)
    first_ms = 1000 * median(first - began for one in heard for first in one["firsts"])
    figures = {"tok/s": rate, "median first byte ms": first_ms, "events": sum(one["events"] for one in heard)}
    if offline := job.known("offline", model, "tok/s"):
        figures[OFFLINE_SHARE] = rate / offline
    processes = f"{settings.gateways} gateways, {settings.detokenizers} detokenizers, {settings.clients} clients"
    job.row(model, figures, processes)
    job.say(f"{model}: {rate:,.0f} tok/s through the set" + (f", {rate / offline:.1%} of offline" if offline else ""))


@contextmanager
def service_set(job: Job, folder: Path, name: str) -> Iterator[str]:
    """The gateway's URL, once all are ready. Failed, with what the set said last, if they do not get there."""
    settings = job.settings
    longest = min(LONGEST, CONFIGS[name]["max_position_embeddings"])
    engine = f"--load-format dummy --max-num-seqs {settings.requests} --max-model-len {longest}"
    command = [sys.executable, "-m", "tools.run", "--port", "0", "--run-dir", str(job.folder / "run")]
    command += ["--model", str(folder), "--served-model-name", name, "--device", job.card.kind]
    command += ["--gateways", str(settings.gateways), "--detokenizers", str(settings.detokenizers)]
    command.append(f"--engine-args={engine}")
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            url = _ready(job, process.stdout)
            # It may say more, of a process that died: somebody has to read that, or the set would wait.
            reader = threading.Thread(target=_say_all, args=(job, process.stdout))
            reader.start()
            try:
                yield url
            finally:
                process.send_signal(signal.SIGINT)
                reader.join(GRACE_S)
        except BaseException:  # out of time too: the logs go with this process's folder
            for log in sorted((job.folder / "run").glob("*.log")):
                job.text(f"{name}: {log.name}", "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]))
            raise
        finally:
            process.kill()


def _ready(job: Job, lines: IO[str]) -> str:
    """The URL, once the set says it."""
    last = "it said nothing"
    for line in lines:
        job.say(line.strip())
        if ready := READY.match(line):
            return ready[1]
        last = line.strip() or last
    raise Failed(f"the set did not start: {last}")


def _say_all(job: Job, lines: IO[str]) -> None:
    """To the end, which is the set's."""
    for line in lines:
        job.say(line.strip())


@contextmanager
def clients(url: str, model: str, asks: Sequence[Ask], count: int) -> "Iterator[Load]":
    """Calling what this gives sends everything; it returns when that was, and what each process heard."""
    with ExitStack() as stack:
        started = []
        for number in range(min(count, len(asks))):
            share = {"seed": 1000 * number, "asks": [(ask.prompt, ask.tokens) for ask in asks[number::count]]}
            started.append(stack.enter_context(_client(url, model, json.dumps(share))))
        yield Load(started)


class Load:
    def __init__(self, processes: "Sequence[subprocess.Popen[str]]") -> None:
        self._processes = processes
        for process in processes:
            if _line(process) != "ready":
                raise Failed("a client did not start")

    def __call__(self) -> tuple[float, list[dict[str, Any]]]:
        began = time.monotonic()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [_line(process) for process in self._processes]
        if not all(told):
            raise Failed("a client ended without an answer; see its traceback above")
        return began, [json.loads(line) for line in told]


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def _client(url: str, model: str, share: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tools.gpu_check.client", url, model]
    with subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(share + "\n")  # too long for a command line
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()
