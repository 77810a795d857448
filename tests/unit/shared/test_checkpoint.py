"""Where a model is found and what it says of itself, without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Request, Response
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from shared import checkpoint
from shared.errors import ConfigError


def made(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_directory_is_its_own_place(tmp_path: Path) -> None:
    """Nothing is downloaded for it, whichever files are wanted."""
    made(tmp_path, config={})
    assert checkpoint.locate(str(tmp_path), "weights") == tmp_path
    assert checkpoint.locate(str(tmp_path), "tokenizer") == tmp_path


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "a/b/c", "", "../up", "owner/name with spaces"])
def test_what_is_neither_directory_nor_id_is_refused(model: str) -> None:
    """Before anything is asked of the network."""
    with pytest.raises(ConfigError, match="model: "):
        checkpoint.locate(model, "weights")


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        checkpoint.locate(str(tmp_path), "tokenizer")


def test_an_id_is_downloaded_by_kind_with_the_token_and_tells_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway fetches no weights, the engine no tokenizer; a container's secret is a file."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(model: str, **options: Any) -> str:
        asked.append({"model": model, **options})
        bar = options["tqdm_class"](total=10, unit="B", desc="bytes")
        bar.update(4)
        bar.update(20)
        bar.close()
        options["tqdm_class"](total=2, unit="it").update(1)
        return str(tmp_path)

    made(tmp_path, config={})
    (tmp_path / "secret").write_text("hf_file\n")
    monkeypatch.setattr(checkpoint, "snapshot_download", snapshot_download)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "secret"))
    heard: list[tuple[str, float]] = []
    assert checkpoint.locate("some/model", "tokenizer", lambda m, share: heard.append((m, share))) == tmp_path
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    checkpoint.locate("some/model", "weights")
    assert [one["token"] for one in asked] == ["hf_file", "hf_environment"]
    assert "tokenizer.json" in asked[0]["allow_patterns"] and "*.safetensors" not in str(asked[0]["allow_patterns"])
    assert any(pattern.endswith(".safetensors") for pattern in asked[1]["allow_patterns"])
    assert heard == [("downloading some/model", 0.4), ("downloading some/model", 1.0)]


ANSWER = Response(404, request=Request("GET", "https://hub.invalid"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError("no", response=ANSWER), "is gated; set HF_TOKEN"),
        (RepositoryNotFoundError("no", response=ANSWER), "neither a directory nor known to Hugging Face"),
        (LocalEntryNotFoundError("no"), "cannot be reached"),
        (OSError("disk full\nand more"), "cannot be downloaded: disk full"),
    ],
)
def test_a_download_that_fails_says_why_in_one_line(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(model: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(checkpoint, "snapshot_download", snapshot_download)
    with pytest.raises(ConfigError, match=words) as caught:
        checkpoint.locate("some/model", "weights")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        ({"config": {"eos_token_id": 2}}, (2,)),
        ({"config": {"eos_token_id": 2}, "generation_config": {"eos_token_id": [5, 6]}}, (5, 6)),
        ({"config": {"eos_token_id": [3]}, "generation_config": {"temperature": 1}}, (3,)),
        ({"config": {"eos_token_id": None}}, ()),
        ({"config": {}}, ()),
    ],
)
def test_the_ids_that_end_an_answer_are_the_generation_configs_first(
    files: dict[str, Any], ids: tuple[int, ...], tmp_path: Path
) -> None:
    assert checkpoint.eos_ids(made(tmp_path, **files)) == ids


def test_sizes_come_from_the_configuration(tmp_path: Path) -> None:
    """And a configuration without them is refused by name."""
    made(tmp_path, config={"vocab_size": 7, "max_position_embeddings": 99})
    assert (checkpoint.vocab_size(tmp_path), checkpoint.max_model_len(tmp_path)) == (7, 99)
    made(tmp_path, config={"vocab_size": "many"})
    with pytest.raises(ConfigError, match="vocab_size"):
        checkpoint.vocab_size(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        checkpoint.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        checkpoint.read_config(tmp_path)
