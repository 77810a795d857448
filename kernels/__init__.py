"""GPU kernels, one folder each. Imports nothing; the version is for transformers, which probes any `kernels` package."""

__version__ = "0"
