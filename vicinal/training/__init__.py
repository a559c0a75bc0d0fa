"""Training: data, samplers, and what reads them."""
