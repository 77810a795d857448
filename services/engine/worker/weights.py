"""safetensors files into a model's places. Nothing else is read: no pickle, no code from a checkpoint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from safetensors import SafetensorError, safe_open

from services.engine.worker.layers.parameters import Place
from shared.checkpoint import Progress
from shared.errors import ConfigError

# Tensors that some checkpoints carry and nobody needs: angles are computed, and a tied head is the embedding.
_IGNORED = ("rotary_emb.inv_freq",)


def load(
    folder: Path, places: Mapping[str, Place], *, tied: bool, progress: Progress = lambda message, share: None
) -> None:
    """Fill every place from model.safetensors or the shards its index names, file by file.

    Raises ConfigError for a file that is missing or broken, and names tensors that are missing, unknown or misshapen.
    """
    missing = set(places)
    files = _files(folder)
    for number, file in enumerate(files):
        progress(f"loading {file.name}", number / len(files))
        for name, stored in _tensors(file):
            if name in places:
                _fill(places[name], name, stored)
                missing.discard(name)
            elif not (name.endswith(_IGNORED) or (tied and name == "lm_head.weight")):
                raise ConfigError(f"model: {file} holds a tensor this model has no place for: {name}")
    if missing:
        raise ConfigError(f"model: {folder} lacks {len(missing)} tensors of the model, among them {min(missing)}")
    progress("loaded", 1.0)


def fill_randomly(places: Mapping[str, Place]) -> None:
    """Small normal numbers instead of a checkpoint, and ones for the norms: for measuring speed."""
    for name, place in places.items():
        if "norm" in name:
            place.target.fill_(1.0)
        else:
            place.target.normal_(0.0, 0.02)


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        files = [folder / "model.safetensors"]
    else:
        try:
            files = [folder / name for name in sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))]
        except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
            raise ConfigError(f"model: {index} is no index of safetensors files") from None
    for file in files:
        if file.parent != folder or not file.is_file():
            raise ConfigError(f"model: {file} is missing; only safetensors checkpoints are supported")
    return files


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Each tensor's name, and a handle that reads what it is indexed with and nothing else."""
    try:
        with safe_open(file, framework="pt") as opened:  # mapped, not read at once
            for name in opened.keys():  # noqa: SIM118  # not a mapping
                yield name, opened.get_slice(name)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"model: {file} cannot be read: {error}") from None


def _fill(place: Place, name: str, stored: Any) -> None:
    shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
    if shape != place.shape:
        raise ConfigError(f"model: {name} has shape {shape}, config.json says {place.shape}")
    if dtype not in ("F64", "F32", "F16", "BF16"):
        raise ConfigError(f"model: {name} has dtype {dtype}; quantised weights are not supported")
    place.target.copy_(stored[place.part])
