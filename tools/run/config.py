"""What `make run` can be told, and the command line of each process that follows from it. Starts nothing."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import ConfigError
from shared.settings import CommonConfig, option
from tools.run.process import Program

DEMO_MODEL = "models/demo"
DEMO_NAME = "sluice-demo"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # listening on the left, reached on the right
ALIASES = ("REDIS_URL", "SERVED_MODEL_NAME")  # variables that count without their SLUICE_ too
MOST_PROCESSES = 64
FILES = ("api_keys_file", "tls_cert", "tls_key", "tls_client_ca")  # the gateways read them


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(CommonConfig):
    redis_url: str = option("", "a Redis of yours (also REDIS_URL); empty: an embedded one is started")
    model: str = option(DEMO_MODEL, "a directory in Hugging Face format, or a Hugging Face id")
    served_model_name: str = option("", f"the name clients use (also SERVED_MODEL_NAME); empty: MODEL, or {DEMO_NAME}")
    log_format: Literal["json", "text"] = option(
        "text", "what the services' logs are: JSON objects, or text for people"
    )
    host: str = option("127.0.0.1", "the address to listen on")
    port: int = option(8000, "the port to listen on; 0 takes a free one")
    device: Literal["auto", "cpu", "cuda", "sim"] = option("auto", "where the engines compute; sim only takes the time")
    engines: int = option(1, "how many engine processes")
    gateways: int = option(1, "how many gateway processes; they share the port")
    detokenizers: int = option(1, "how many detokenizer processes, one shard each")
    engine_args: str = option("", "more flags for each engine, as one string; python -m services.engine --help")
    api_key: str = option("", "clients must send this key (better as the variable: a command line is no secret)")
    api_keys_file: str = option("", "a file of keys, one a line, with limits of their own (docs/security.md)")
    tls_cert: str = option("", "file with the certificate (PEM, the whole chain) to serve HTTPS with")
    tls_key: str = option("", "file with the private key of --tls-cert (PEM)")
    tls_client_ca: str = option("", "file with the certificates that sign those of clients, who then need one")
    shards: int = option(1, "no effect here: each of the --detokenizers owns one")
    internal_token: str = option("", "what the services show each other; empty: a random one")
    run_dir: str = option(".run", "folder of the logs and of the embedded Redis")

    def __post_init__(self) -> None:
        for flag in ("engines", "gateways", "detokenizers"):
            if not 1 <= getattr(self, flag) <= MOST_PROCESSES:
                raise ConfigError(f"--{flag} must be 1 to {MOST_PROCESSES}, not {getattr(self, flag)}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port must be 0 to 65535, not {self.port}")

    @property
    def name(self) -> str:
        """The served name: the demo model has one of its own, any other is called as it was given."""
        return self.served_model_name or (DEMO_NAME if self.model == DEMO_MODEL else self.model)

    @property
    def folder(self) -> Path:
        return Path(self.run_dir)

    def url(self, *, reached: bool = False) -> str:
        """Where the gateway listens; `reached`: as this machine reaches it."""
        host = ANY_ADDRESS.get(self.host, self.host) if reached else self.host
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"


def with_aliases(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with SLUICE_X set from a plain X that is not empty."""
    return {**{f"SLUICE_{name}": environ[name] for name in ALIASES if environ.get(name)}, **environ}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def services(config: RunConfig, environment: Mapping[str, str]) -> tuple[Program, ...]:
    """Engines first, as they take longest. Secrets travel in `environment` and are on no command line."""
    common = (
        *("--model", config.model, "--served-model-name", config.name),
        *("--shards", str(config.detokenizers), "--log-level", config.log_level),
        *("--log-format", config.log_format),
    )
    inside = ("--host", "127.0.0.1", "--port", "0")
    try:
        more = shlex.split(config.engine_args)
    except ValueError as error:
        raise ConfigError(f"--engine-args: {error}") from None

    def program(service: str, index: int, *flags: str) -> Program:
        command = (sys.executable, "-m", f"services.{service}", *common, *flags)
        return Program(name=f"{service}-{index}", command=command, environment=environment)

    shared_port = "true" if config.gateways > 1 else "false"
    outside = (
        *("--host", config.host, "--port", str(config.port), "--reuse-port", shared_port),
        *(part for name in FILES if (path := getattr(config, name)) for part in (_flag(name), path)),
    )
    return (
        *(
            program("engine", i, "--device", config.device, "--engine-name", f"engine-{i}", *inside, *more)
            for i in range(config.engines)
        ),
        *(program("detokenizer", i, "--shard", str(i), *inside) for i in range(config.detokenizers)),
        *(program("gateway", i, *outside) for i in range(config.gateways)),
    )
