"""The process in which a program that we do not trust with ours is run: `python -I sandboxed.py PROGRAM`.

PROGRAM is a file beside this one with a function `opened(**setup)`, which returns what answers questions. Lines of JSON
come in, first `{setup, memory, cpu_s, nice}` and then `{...}` for each question, each answered by one line: what it
returned, or `{error}`. `sandbox.py` beside it keeps the time on the wall; here are the limits of memory and of
processor time, for the case that nobody is left to kill us.
"""

import importlib.util
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

MOST_ERROR = 300  # characters of what went wrong
HARD = resource.RLIM_INFINITY
Answer = Callable[..., dict[str, Any]]


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("program", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _opened(program: Any, setup: Mapping[str, Any]) -> Answer | str:
    """What answers, or what is wrong with the set-up."""
    try:
        answer: Answer = program.opened(**setup)
        return answer
    except Exception as error:
        return _said(error)


def _answer(answer: Answer | str, line: bytes) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"error": answer}
    try:
        return answer(**orjson.loads(line))
    except MemoryError:
        return {"error": "it needs too much memory"}
    except RecursionError:
        return {"error": "it is nested too deeply"}
    except Exception as error:  # it may raise anything
        return {"error": _said(error)}


def _said(error: Exception) -> str:
    return str(error)[:MOST_ERROR] or type(error).__name__


def _limit(kind: int, soft: int) -> None:
    with suppress(ValueError, OSError):  # not every system has each of them
        resource.setrlimit(kind, (soft, HARD))


def main() -> None:
    program = _load(sys.argv[1])
    first = orjson.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_AS, first["memory"])
    _limit(resource.RLIMIT_CORE, 0)  # it holds what clients wrote
    with suppress(OSError):
        os.nice(first["nice"])
    answer = _opened(program, first["setup"])
    while line := sys.stdin.buffer.readline():
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + first["cpu_s"])
        sys.stdout.buffer.write(orjson.dumps(_answer(answer, line), default=str) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
