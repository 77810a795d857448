"""The angle of each position: plain, linear (kaiokendev's interpolation) or by parts as in Llama 3.1."""

import math

import torch
from torch import Tensor

from services.engine.worker.models.config import RopeConfig


def frequencies(rope: RopeConfig, head_dim: int) -> Tensor:
    """[head_dim / 2], float32: radians per position of each pair."""
    plain = 1.0 / (rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    if rope.kind == "default":
        return plain
    if rope.kind == "linear":
        return plain / rope.factor
    # Llama 3.1: short waves stay, long ones are stretched, and those between are mixed (meta-llama, `apply_scaling`).
    wave = 2 * math.pi / plain
    share = (rope.original_max_position / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    share = share.clamp(0, 1)  # 1: short
    return (1 - share) * plain / rope.factor + share * plain
