"""Which one is quantized? Anonymous answers to one prompt, of recorded comparisons. Nothing here imports torch."""
