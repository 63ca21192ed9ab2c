"""Quantized weights on disk: kept and found again, staged while they are written, loaded, exported."""
