"""How much arithmetic a network takes; all else is small beside its products."""

from __future__ import annotations


def product(rows: int, inner: int, columns: int) -> int:
    """Floating-point operations of a matrix product, a product and a sum as two.

    Args:
        rows: of the first matrix.
        inner: what is summed over.
        columns: of the second matrix.

    Returns:
        The count.
    """
    return 2 * rows * inner * columns
