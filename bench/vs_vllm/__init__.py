"""Sluice and vLLM side by side, on one machine and one load; `python -m bench.vs_vllm --help`. See `__main__.py`."""
