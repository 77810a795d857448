"""Product with a matrix of weights."""
