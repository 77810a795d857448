"""What the gateway needs of the served checkpoint, read once at start while `/ready` tells how far it is."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from services.gateway.checker import Checker
from services.gateway.config import GatewayConfig
from services.gateway.defaults import SamplingDefaults, read_defaults
from services.gateway.fanout import Model
from services.gateway.prompt import Encoder
from services.gateway.renderers import Renderers
from shared import checkpoint, tokenizer
from shared.errors import NotFound, Unavailable
from shared.ops import Readiness


@dataclass(frozen=True, slots=True)
class Loaded:
    encoder: Encoder
    model: Model


class ServedModel:
    """The one owner of the loaded checkpoint; there is one model, under one name."""

    def __init__(self, config: GatewayConfig, threads: Executor, renderers: Renderers, checker: Checker) -> None:
        self._config = config
        self._threads = threads
        self._renderers = renderers
        self._checker = checker
        self._loaded: Loaded | None = None
        self._here = asyncio.Event()
        self._state = Readiness(False, "loading the tokenizer")

    async def load(self) -> None:
        """Raises ConfigError if the model cannot be found or read."""
        loop = asyncio.get_running_loop()
        self._loaded = await loop.run_in_executor(self._threads, self._read)
        self._state = Readiness(True)
        self._here.set()

    async def here(self) -> None:
        """Returns once it is loaded."""
        await self._here.wait()

    def find(self, name: str) -> Loaded:
        """Raises NotFound for any name but the served one, Unavailable while it loads."""
        self.check_name(name)
        if self._loaded is None:
            raise Unavailable(self._state.message)
        return self._loaded

    def check_name(self, name: str) -> None:
        if name != self._config.name:
            message = f"The model `{name[:256]}` does not exist; this server has `{self._config.name}`."
            raise NotFound(message, param="model", code="model_not_found")

    def readiness(self) -> Readiness:
        return self._state

    def _read(self) -> Loaded:
        folder = checkpoint.locate(self._config.model, "tokenizer", self._report)
        parsers = self._config.tool_parser, self._config.reasoning_parser
        encoder = Encoder(tokenizer.load(folder), self._threads, self._renderers, *parsers)
        eos, defaults = checkpoint.eos_ids(folder), self._defaults(folder)
        self._checker.serve(folder, eos)
        return Loaded(encoder, Model(eos=eos, defaults=defaults, forms=encoder.forms))

    def _defaults(self, folder: Path) -> SamplingDefaults:
        return read_defaults(folder) if self._config.sampling_defaults == "model" else SamplingDefaults()

    def _report(self, message: str, share: float) -> None:
        self._state = Readiness(False, message, share)
