"""Columns on the nodes of a Ray cluster: each where there is room for it, with the same events as in one process."""

from quantlab.runs.cluster.jobs import joined

__all__ = ["joined"]
