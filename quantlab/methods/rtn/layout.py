"""Sizes of the packed layout; pure arithmetic, so that estimates need no torch.

Integers are packed in bit planes along the input axis: 8, 4 and 2 bits as they are, 3 bits as a plane of 2 and a
plane of 1, so every width takes exactly its bits. Inputs are padded to whole groups.
"""

GROUP_SIZE = 64
#: Width of the planes whose sum is the number of bits; each divides 8.
PLANES = {8: (8,), 4: (4,), 3: (2, 1), 2: (2,)}


def padded(columns: int, group_size: int) -> int:
    """The input size rounded up to whole groups."""
    return -(-columns // group_size) * group_size


def packed_columns(columns: int, bits: int, group_size: int) -> int:
    """Bytes of one packed row."""
    return padded(columns, group_size) * bits // 8
