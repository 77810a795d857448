"""A peer is started and ended by the verbs of its tool; its processes are told apart by what they call themselves."""

import sys
from pathlib import Path

import psutil
import pytest

from bench.vs_vllm.systems import API_SERVER, PEER, peer, peer_kind

SERVER = f"""#!{sys.executable}
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"version": " ".join(sys.argv[4:])}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
assert sys.argv[1:3] == ["serve", "/model"]
http.server.HTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("commands", "kind"),
    [
        (["python vllm serve /model"], API_SERVER),
        (["python -c resource_tracker", "python vllm serve /model"], API_SERVER),
        (["VLLM::EngineCore   ", "python vllm serve /model"], "EngineCore"),
        (["VLLM::Worker_TP0", "VLLM::EngineCore", "python vllm serve /model"], "worker"),
        (["python -c helper", "VLLM::EngineCore", "python vllm serve /model"], "EngineCore"),
        (["VLLM::APIServer_1", "python vllm serve /model"], API_SERVER),
        (["VLLM::DPCoordinator", "python vllm serve /model"], "DPCoordinator"),
    ],
)
def test_a_process_is_what_the_nearest_title_says(commands: list[str], kind: str) -> None:
    """Its own or that of one above it; without any it belongs to the API server, which has none."""
    assert peer_kind(commands) == kind


def script(folder: Path, text: str) -> Path:
    tool = folder / "tool"
    tool.write_text(text)
    tool.chmod(0o755)
    return tool


async def test_a_peer_is_ready_when_it_says_that_it_is_healthy(tmp_path: Path) -> None:
    """It computes in bfloat16, is given the flags, and is gone afterwards."""
    async with peer(script(tmp_path, SERVER), Path("/model"), tmp_path, ["--more"]) as system:
        assert (system.name, system.version) == (PEER, "--dtype bfloat16 --more")
        assert system.start_s > 0 and system.pss_bytes() > 2**20
        assert system.cpu_seconds()[API_SERVER] > 0 and await system.idle_share(0.01) >= 0
    assert not psutil.pid_exists(system.root.pid)


async def test_a_peer_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such device"):
        async with peer(script(tmp_path, "#!/bin/sh\necho no such device; exit 1\n"), Path("/model"), tmp_path, []):
            raise AssertionError("it is not ready")
