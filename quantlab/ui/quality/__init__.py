"""The tab that measures how far a model is from its reference."""
