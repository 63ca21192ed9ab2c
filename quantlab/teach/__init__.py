"""What a class looks at: what the memory of a model is made of, and what of it fits where."""
