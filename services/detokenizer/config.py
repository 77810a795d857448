"""What a detokenizer is told when it starts."""

import ipaddress
from dataclasses import dataclass

from shared import ops
from shared.errors import ConfigError
from shared.settings import CommonConfig, option


@dataclass(frozen=True, slots=True, kw_only=True)
class DetokenizerConfig(CommonConfig):
    shard: int = option(0, "which shard this process owns, from 0; one process for each")
    host: str = option("127.0.0.1", "address to listen on for gateways, health checks and metrics")
    port: int = option(0, "port to listen on; 0 takes any free one")
    advertise_host: str = option("", "the name gateways reach this process by; the value of --host if empty")
    internal_token: str = option("", "secret that gateways show; needed if --host is not loopback")
    retention_s: float = option(600.0, "seconds for which the bus keeps finished answers")
    keep_s: float = option(30.0, "seconds for which this process keeps finished answers in memory")
    keep_requests: int = option(256, "how many finished answers it keeps in memory at most")
    max_attached: int = option(65536, "how many requests gateways may wait for here at most")
    stall_s: float = option(10.0, "seconds after which a gateway that takes nothing is cut")

    def __post_init__(self) -> None:
        if not 0 <= self.shard < self.shards:
            raise ConfigError(f"--shard must be below --shards ({self.shards}) and not negative: {self.shard}")
        if not _is_loopback(self.host) and not self.internal_token:
            raise ConfigError(f"--internal-token is needed, as --host {self.host} is not loopback")
        for name in ("keep_requests", "max_attached"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        for name in ("retention_s", "keep_s", "stall_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be more than 0, not {getattr(self, name)}")

    def url(self, port: int) -> str:
        """Where gateways find the server that listens on `port`."""
        return ops.address(self.host, port, self.advertise_host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
