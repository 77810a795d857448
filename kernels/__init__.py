"""GPU kernels, one folder each. Imports nothing; the version is for transformers, which probes any package so named."""

__version__ = "0"
