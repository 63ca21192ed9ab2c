"""The frozen records that every layer speaks. Nothing here imports torch, gradio or another room.

Bytes are exact integers, times are seconds, probabilities lie in [0, 1], divergences are in nats. A figure that
was not measured is None, never zero. What each figure means is defined in docs/measurement.md.
"""

from quantlab.records.asked import (
    Calibration,
    Checkpoint,
    Model,
    ModelKind,
    Offer,
    Placement,
    Precision,
    Progress,
    Settings,
    TensorInfo,
    Variant,
    silent,
)
from quantlab.records.measured import (
    PARTS,
    Candidate,
    Comparison,
    Divergence,
    Load,
    LoadOrigin,
    Machine,
    Peak,
    Run,
    Timing,
    TokenDifference,
)

__all__ = [
    "PARTS",
    "Calibration",
    "Candidate",
    "Checkpoint",
    "Comparison",
    "Divergence",
    "Load",
    "LoadOrigin",
    "Machine",
    "Model",
    "ModelKind",
    "Offer",
    "Peak",
    "Placement",
    "Precision",
    "Progress",
    "Run",
    "Settings",
    "TensorInfo",
    "Timing",
    "TokenDifference",
    "Variant",
    "silent",
]
