"""Compiles every kernel in every configuration for GPUs that are not there. See `__main__`."""
