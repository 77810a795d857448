"""What holds for a sampling parameter that the client leaves out: the checkpoint's word, or OpenAI's.

As vLLM and SGLang do, `generation_config.json` is believed: a model's makers know at which temperature it talks sense.
"""

from pathlib import Path
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import ConfigError


class SamplingDefaults(BaseModel):
    """OpenAI's values, where the checkpoint says nothing."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] = 1.0


def read_defaults(checkpoint: Path) -> SamplingDefaults:
    """From `generation_config.json`, if there is one. Raises ConfigError naming the field that makes no sense."""
    path = checkpoint / "generation_config.json"
    if not path.exists():
        return SamplingDefaults()
    try:
        fields = orjson.loads(path.read_bytes())
        return SamplingDefaults.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {field}: {first['msg']} (--sampling-defaults openai passes it by)") from None
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}") from None
