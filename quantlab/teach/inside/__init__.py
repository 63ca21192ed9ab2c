"""What a bucket is: a real weight matrix, and how each method turns its numbers into few levels."""

from quantlab.teach.inside.looking import look, told
from quantlab.teach.inside.channels import outliers
from quantlab.teach.inside.channels import told as told_of_channels
from quantlab.teach.inside.weights import layers, resolved

__all__ = ["layers", "look", "outliers", "resolved", "told", "told_of_channels"]
