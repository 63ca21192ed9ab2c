"""What a class looks at: methods and models laid open, computed from real tensors."""
