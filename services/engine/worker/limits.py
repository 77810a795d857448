"""How long a sequence may be: what is asked for, what the checkpoint allows, and what the KV cache holds."""

from shared.errors import ConfigError


def context(asked: int, allowed: int, blocks: int, block_size: int) -> int:
    """Tokens of prompt and output together; `asked` 0 takes what there is.

    Raises ConfigError where more is asked for than the checkpoint allows or the blocks hold.
    """
    if asked > allowed:
        raise ConfigError(f"--max-model-len {asked} is more than the checkpoint allows: {allowed}")
    if asked > blocks * block_size:
        raise ConfigError(
            f"--max-model-len {asked} needs {-(-asked // block_size)} blocks of the KV cache, there are {blocks};"
            " raise --kv-blocks or lower --max-model-len"
        )
    return asked or min(allowed, blocks * block_size)
