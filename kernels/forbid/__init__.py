"""Stop ids that may not be drawn yet."""
