"""Bytes that can be made again from a name, and the sizes at which the engine changes its ways.

An object is stored in the log up to 16 KiB, then in blocks that hold 65,456 of its bytes, two of them
side by side at 2+2, at most 64 blocks to a chunk: each of these edges is a size here, with its neighbours.
"""
import random

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
INLINE_BYTES_MAX = 16 * KIB
BLOCK_PAYLOAD_BYTES = 65456
STRIPE_BYTES_AT_TWO = 2 * 64 * BLOCK_PAYLOAD_BYTES


def _around(*edges):
    return [edge + step for edge in edges for step in (-1, 0, 1)]


SMALL_SIZES = [0, 1, 2] + _around(4096, INLINE_BYTES_MAX)
SIZES = SMALL_SIZES + _around(BLOCK_PAYLOAD_BYTES, 2 * BLOCK_PAYLOAD_BYTES, MIB, STRIPE_BYTES_AT_TWO)
LARGE_SIZES = [10 * MIB, 100 * MIB]


def content(size, name="content"):
    """The bytes that belong to this name and size, always the same."""
    return random.Random(f"{name}/{size}").randbytes(size)
