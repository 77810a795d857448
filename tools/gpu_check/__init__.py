"""One command that measures the engine on a GPU and proves it right there; see docs/gpu-check.md."""
