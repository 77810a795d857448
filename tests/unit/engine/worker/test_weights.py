"""Checkpoints that are not whole, or not what they say, are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.engine.worker import weights
from services.engine.worker.group import Alone
from services.engine.worker.layers.ops import cpu_ops
from services.engine.worker.layers.parameters import Parameters
from services.engine.worker.models.config import model_config
from services.engine.worker.models.decoder import Decoder
from shared.checkpoint import read_config
from shared.errors import ConfigError
from tests.checkpoints import build

Tensors = dict[str, torch.Tensor]


def decoder(folder: Path) -> Decoder:
    model = Decoder(
        model_config(read_config(folder)),
        Parameters(torch.device("cpu"), torch.float32, cpu_ops(torch.float32, parameters=0), Alone()),
    )
    weights.load(folder, model.parameters.places, tied=model.config.tied)
    return model


def rename(old: str, new: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[new] = tensors.pop(old)

    return change


def replace(name: str, tensor: torch.Tensor) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensor})


BROKEN = {
    "lacks 1 tensors of the model, among them model.norm.weight": lambda tensors: tensors.pop("model.norm.weight"),
    "no place for: model.surprise": replace("model.surprise", torch.zeros(1)),
    "model.layers.1.mlp.down_proj.weight has shape": replace("model.layers.1.mlp.down_proj.weight", torch.zeros(3, 3)),
    "model.norm.weight has dtype I8": replace("model.norm.weight", torch.zeros(64, dtype=torch.int8)),
    "no place for: transformer.wte.weight": rename("model.embed_tokens.weight", "transformer.wte.weight"),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_tensor_that_does_not_fit_is_named(words: str, qwen3: Path, tmp_path: Path) -> None:
    """Missing, unknown, of another shape, or quantised."""
    folder = copytree(qwen3, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    BROKEN[words](tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=words):
        decoder(folder)


def test_what_nobody_needs_is_passed_over(qwen3: Path, tmp_path: Path) -> None:
    """Old checkpoints carry the angles of their positions, and some a head that is the embedding anyway."""
    folder = copytree(qwen3, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(16)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    decoder(folder)


def test_shards_and_a_single_file_give_the_same_weights(qwen3: Path, tmp_path: Path) -> None:
    """The index names the files; each place is filled once."""
    folder = build("sharded", tmp_path / "sharded")
    assert len(list(folder.glob("*.safetensors"))) > 2
    whole, parts = decoder(qwen3).parameters.places, decoder(folder).parameters.places
    assert all(torch.equal(whole[name].target, parts[name].target) for name in whole)


def test_missing_and_broken_files_are_named(qwen3: Path, tmp_path: Path) -> None:
    """A checkpoint of another format, a shard that is not there or lies elsewhere, a file that is none."""
    folder = copytree(qwen3, tmp_path / "copy")
    file = folder / "model.safetensors"
    file.write_bytes(b"not tensors")
    with pytest.raises(ConfigError, match="cannot be read"):
        decoder(folder)
    file.rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="only safetensors checkpoints are supported"):
        decoder(folder)
    index = folder / "model.safetensors.index.json"
    for name in ("model-00001.safetensors", "../copy/model.safetensors", str(qwen3 / "model.safetensors")):
        index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
        with pytest.raises(ConfigError, match="is missing"):
            decoder(folder)
    index.write_text("{}")
    with pytest.raises(ConfigError, match="no index"):
        decoder(folder)
