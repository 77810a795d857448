"""The models we run: one decoder, told by a configuration what it is."""

from services.engine.worker.models.config import ModelConfig, model_config
from services.engine.worker.models.decoder import Decoder

__all__ = ["Decoder", "ModelConfig", "model_config"]
