"""HTTP in, token ids to the bus; finished bytes back, relayed unopened."""
