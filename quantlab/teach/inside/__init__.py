"""What a bucket is: a real weight matrix, and how each method turns its numbers into few levels."""

from quantlab.teach.inside.look import look, told
from quantlab.teach.inside.weights import layers, resolved

__all__ = ["layers", "look", "resolved", "told"]
