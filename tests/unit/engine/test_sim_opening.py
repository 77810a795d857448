"""`--device sim` opens by config.json and tokenizer.json alone, draws words, and needs no torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from services.engine.config import EngineConfig
from services.engine.worker.limits import context
from services.engine.worker.sim import open_sim
from services.engine.worker.words import clock_words, words
from shared.errors import ConfigError
from tests.unit.engine.test_sim_cost import QWEN3_06B

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "models/demo"


def test_it_opens_without_weights_and_sizes_its_blocks_by_the_card(tmp_path: Path) -> None:
    """config.json and tokenizer.json are enough; with the weights, the cache takes 90 % of the memory."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_06B))
    (tmp_path / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes())
    config = EngineConfig(device="sim", max_num_seqs=1024)
    worker = open_sim(config, tmp_path)
    assert worker.num_blocks == int((141e9 * 0.9 - 1_191_968_768) // (16 * 114_688))
    assert (worker.max_model_len, worker.vocab_size) == (40960, 151936)
    small = open_sim(replace(config, sim_memory=1.5, max_model_len=0), tmp_path)
    assert small.max_model_len == small.num_blocks * 16 < 40960
    few = open_sim(replace(config, max_num_seqs=2, max_model_len=100), tmp_path)
    assert (few.num_blocks, few.max_model_len) == (14, 100)
    with pytest.raises(ConfigError, match=r"1\.2 GB of weights.*--sim-memory 1 GB"):
        open_sim(replace(config, sim_memory=1.0), tmp_path)
    with pytest.raises(ConfigError, match="--max-model-len 50000"):
        open_sim(replace(config, max_model_len=50000), tmp_path)


def test_a_context_that_was_asked_for_must_fit() -> None:
    """What nobody asked for is cut to what there is; what was asked for and does not fit is an error."""
    assert context(0, 2048, 1000, 16) == 2048
    assert context(0, 2048, 10, 16) == 160
    assert context(100, 2048, 10, 16) == 100
    with pytest.raises(ConfigError, match=r"--max-model-len 200 needs 13 blocks.*there are 10.*--kv-blocks"):
        context(200, 2048, 10, 16)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sim_bandwidth", 0.0),
        ("sim_flops", -1.0),
        ("sim_memory", float("nan")),
        ("sim_speed", float("inf")),
        ("sim_overhead_us", -1.0),
        ("sim_tokens_per_second", float("nan")),
        ("sim_stop_probability", 1.5),
    ],
)
def test_a_card_that_cannot_be_is_refused_by_the_flags_name(field: str, value: float) -> None:
    """One line that names the flag."""
    with pytest.raises(ConfigError, match="--" + field.replace("_", "-")):
        EngineConfig(**{field: value})  # type: ignore[arg-type]  # one of the floats


def test_words_are_whole_text_and_never_special() -> None:
    """Each id of the demo's words decodes to letters, perhaps behind a space."""
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    found = words(DEMO, 3072)
    assert len(found) > 2000
    assert all(tokenizer.decode([id], skip_special_tokens=False).strip().isalpha() for id in found)
    assert max(words(DEMO, 1000)) < 1000


@pytest.mark.parametrize(
    ("vocab", "found"),
    [
        ([["<s>", 0.0], ["▁the", -1.0], ["##", -2.0], ["cat", -3.0]], [1, 3]),  # a unigram model's list
        ({"<s>": 0, "12": 1, "34": 2, "high": 9}, [1, 2]),  # no words below 5: whatever is not special
    ],
)
def test_words_are_found_in_every_kind_of_vocabulary(tmp_path: Path, vocab: object, found: list[int]) -> None:
    """By name or by place; ids that the model cannot draw are left out."""
    tokenizer = {"added_tokens": [{"id": 0}], "model": {"vocab": vocab}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert list(words(tmp_path, 5)) == found


def test_words_of_a_clock_are_numbers_without_a_gap(tmp_path: Path) -> None:
    """In the order of the numbers, whatever their ids; what does not count from 00000 far enough is refused."""
    vocab = {f"Ġ{number:05}": 9999 - number for number in range(5000)} | {"Ġ05001": 0, "7": 1}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": {"vocab": vocab}}))
    assert list(clock_words(tmp_path, 10_000)) == [9999 - number for number in range(5000)]
    with pytest.raises(ConfigError, match=r"--sim-words clock draws .* 00000 to 04095, and .* lacks 00000"):
        clock_words(tmp_path, 9999)
    with pytest.raises(ConfigError, match="--sim-words clock"):
        open_sim(EngineConfig(device="sim", sim_words="clock"), DEMO)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"added_tokens": [{"id": 0}], "model": {"vocab": {"<s>": 0}}}'])
def test_a_tokenizer_without_words_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    """The file is named; so it is where there is none."""
    with pytest.raises(ConfigError, match="does not exist"):
        words(tmp_path, 5)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        words(tmp_path, 5)


def test_a_simulated_engine_loads_no_torch_and_stays_small() -> None:
    """All that the process imports, opened: below 120 MB resident, where torch alone takes twice that."""
    code = (
        "import sys, psutil, services.engine.__main__; from pathlib import Path; "
        "from services.engine.config import EngineConfig; from services.engine.worker.sim import open_sim; "
        "worker = open_sim(EngineConfig(device='sim'), Path('models/demo')); "
        "print('torch' in sys.modules, psutil.Process().memory_info().rss >> 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    torch, megabytes = done.stdout.split()
    assert torch == "False"
    assert int(megabytes) < 120
