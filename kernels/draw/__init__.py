"""From logits to a token id: temperature, top-k, top-p, min-p and the draw itself, without a sort."""
