"""The way of spans and metrics to the process that exports them (`otlp.py`): lines of JSON down a pipe.

Nothing here ever waits for a collector. The pipe has a bound: what does not fit because the exporter is slow, stuck or
dead is dropped and counted, and a dead exporter is started again. While nobody listens at the collector's address there
is no such process at all, so naming a collector that may come later costs nothing.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from shared.errors import ConfigError
from shared.telemetry import wire
from shared.telemetry.recorder import QUEUE, Recorder, wall_offset_ns

FLUSH_S = 0.5
BATCH = 512  # spans of one line
PIPE_BYTES = 4 << 20  # on their way; beyond it spans are dropped
METRICS_S = 15.0  # between two exports of metrics, unless OTEL_METRIC_EXPORT_INTERVAL says otherwise
RESTART_S = 5.0
KNOCK_S = 5.0  # between two looks whether the collector is there, and the time for one
LAST_S = 3.0  # for what is left at the end
log = logging.getLogger("sluice.telemetry")


def wanted(environ: Mapping[str, str]) -> tuple[bool, bool]:
    """Are spans exported, and metrics? By the standard's variables; without an endpoint nobody is assumed to listen."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False, False
    return _wanted(environ, "TRACES"), _wanted(environ, "METRICS")


def _wanted(environ: Mapping[str, str], signal: str) -> bool:
    chosen = environ.get(f"OTEL_{signal}_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return chosen == "otlp" or (not chosen and any(environ.get(name, "").strip() for name in endpoints))


def endpoint(environ: Mapping[str, str]) -> tuple[str, int]:
    """Host and port of the collector, as the standard's variables name it."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    grpc = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() == "grpc"
    text = next((given for name in names if (given := environ.get(name, "").strip())), "")
    url = urlsplit(text if "//" in text else f"//{text}")
    usual = {"https": 443, "http": 80}.get(url.scheme, 4317 if grpc else 4318)
    try:
        return url.hostname or "localhost", url.port or (usual if text else (4317 if grpc else 4318))
    except ValueError:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_ENDPOINT must be a URL, not {text[:100]!r}") from None


class Exporter:
    """`families` are asked for when metrics are due; None: nobody wants them. `collector`: host and port."""

    def __init__(
        self,
        recorder: Recorder,
        families: Callable[[], list[dict[str, Any]]] | None,
        resource: Mapping[str, str],
        collector: tuple[str, int],
        metrics_s: float = METRICS_S,
    ) -> None:
        self._collector = collector
        self._recorder = recorder
        self._families = families
        self._resource = dict(resource)
        self._metrics_s = metrics_s
        self._process: asyncio.subprocess.Process | None = None
        self._starts = 0
        self._lines_dropped = 0
        self._told: dict[str, int] = {}  # what the process says of itself

    async def run(self) -> None:
        """For ever. Cancelled, it says what is left, within LAST_S."""
        try:
            while True:
                await self._knock()
                self._process = await self._start()
                async with asyncio.TaskGroup() as tasks:
                    sending = tasks.create_task(self._send(), name="exporter")
                    await self._listen()
                    sending.cancel()
                log.warning("the exporter's process has ended; starting it again in %g s", RESTART_S)
                await asyncio.sleep(RESTART_S)
        finally:
            await self._end()

    def statistics(self) -> dict[str, int]:
        return {"starts": self._starts, "lines_dropped": self._lines_dropped, **self._told}

    async def _knock(self) -> None:
        """Until somebody listens at the collector's address."""
        host, port = self._collector
        told = False
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(KNOCK_S):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.close()
                    return
            if not told:
                log.info("no collector at %s:%d yet; spans are kept for the timeline only", host, port)
                told = True
            await asyncio.sleep(KNOCK_S)
            self._recorder.drop(len(self._recorder.take(QUEUE)))

    async def _start(self) -> asyncio.subprocess.Process:
        self._starts += 1
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shared.telemetry.otlp"), stdin=pipe, stdout=pipe, limit=1 << 20
        )
        assert process.stdin
        process.stdin.write(wire.line(resource=self._resource))
        return process

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        metrics_due = loop.time() + self._metrics_s
        while True:
            await asyncio.sleep(FLUSH_S)
            self._flush()
            if self._families is not None and loop.time() >= metrics_due:
                metrics_due = loop.time() + self._metrics_s
                self._write(wire.line(metrics=self._families()))

    def _flush(self) -> None:
        offset_ns = wall_offset_ns()
        while spans := self._recorder.take(BATCH):
            if not self._write(wire.line(spans=wire.rows(spans, offset_ns))):
                self._recorder.drop(len(spans))

    def _write(self, line: bytes) -> bool:
        pipe = self._process.stdin if self._process else None
        if pipe is None or pipe.is_closing() or pipe.transport.get_write_buffer_size() > PIPE_BYTES:
            self._lines_dropped += 1
            return False
        pipe.write(line)
        return True

    async def _listen(self) -> None:
        """Until the process has ended."""
        assert self._process and self._process.stdout
        while line := await self._process.stdout.readline():
            said = wire.said(line)
            self._told.update(said)
        await self._process.wait()

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._flush()
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(LAST_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
