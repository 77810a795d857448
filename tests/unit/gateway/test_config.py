"""What an operator may say, and what the process carries for it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.gateway.config import GatewayConfig
from shared.errors import ConfigError

BAD = {
    "shards": 0,
    "max_open_requests": 0,
    "mailbox_frames": 0,
    "keep_alive_s": 0.0,
    "port": 65536,
    "port ": -1,
    "ops_port": 70000,
}


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_a_setting_that_cannot_work_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name.strip()):
        GatewayConfig(**{name.strip(): value})


def test_an_inside_server_that_others_reach_asks_for_the_internal_token() -> None:
    """What it tells at /debug/spans is nobody's outside."""
    with pytest.raises(ConfigError, match="internal_token"):
        GatewayConfig(ops_host="0.0.0.0")
    assert GatewayConfig(ops_host="0.0.0.0", internal_token="t").ops_port == 0


def test_keys_are_a_list_with_commas() -> None:
    assert GatewayConfig(api_key=" a, b,,").api_keys == ("a", "b")
    assert GatewayConfig().api_keys == ()


@pytest.mark.parametrize(
    ("host", "exposed"),
    [("127.0.0.1", False), ("127.1.2.3", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],
)
def test_a_host_beyond_loopback_is_exposed(host: str, exposed: bool) -> None:
    """Then a missing key is warned of."""
    assert GatewayConfig(host=host).exposed is exposed


PROBE = """
import sys
from pathlib import Path
import services.gateway.__main__
from shared import tokenizer
loaded = tokenizer.load(Path(sys.argv[1]))
loaded.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
loaded.backend_tokenizer.encode("x")
print("torch" in sys.modules, "libtorch" in Path("/proc/self/maps").read_text())
"""


def test_the_process_maps_no_torch(checkpoint: Path) -> None:
    """Not even where it is installed: 250 MB and two seconds for nothing."""
    done = subprocess.run([sys.executable, "-c", PROBE, str(checkpoint)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
