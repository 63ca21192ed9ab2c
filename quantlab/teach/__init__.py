"""What a class looks at: what fits where, a weight matrix laid open, and what is claimed of quantization."""
