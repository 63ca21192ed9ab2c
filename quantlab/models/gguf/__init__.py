"""GGUF files as models: their headers, and what transformers must be told of them."""
