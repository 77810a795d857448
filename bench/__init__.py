"""Measurements of the whole engine, composed above the services; nothing imports this package."""
