"""The device's state: one row for each running request, from its admission to its end."""

import torch

from services.engine.worker.columns import Column


class Rows:
    """Token ids, block tables, sampling parameters and the lists that steer draws. Whoever computes steps owns it."""

    def __init__(self, rows: int, max_model_len: int, block_size: int, listed: int, device: torch.device) -> None:
        self.block_size = block_size
        self.width = -(-max_model_len // block_size)  # of the block tables
        self.tokens = torch.zeros(rows, max_model_len + 1, dtype=torch.int32, device=device)
        self.tables = torch.zeros(rows, self.width, dtype=torch.int32, device=device)
        self.parameters = torch.zeros(rows, len(Column), dtype=torch.int32, device=device)
        self.lists = torch.zeros(rows, listed, dtype=torch.int32, device=device)
