"""The same small checkpoint as the gateway's own tests."""

from tests.unit.gateway.conftest import checkpoint

__all__ = ["checkpoint"]
