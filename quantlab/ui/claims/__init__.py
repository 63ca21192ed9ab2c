"""The tab that tests what is claimed of quantization."""
