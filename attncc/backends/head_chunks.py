"""Head sizes as kernels hold them: chunks of columns, each a power of two."""

from __future__ import annotations

#: The largest head size that is always one chunk.
WHOLE = 256


def power_of_two(number: int) -> int:
    """Return the least power of two that is at least `number`, for numbers from 1."""
    return 1 << (number - 1).bit_length()


def chunks(head_dim: int, most: int = 512) -> tuple[int, ...]:
    """Return the powers of two, from 16 to `most`, whose sum a head size is padded to.

    It is one up to WHOLE. A larger size is cut into the largest power of two that it holds and the rest, as kernels for
    latent attention do with 576 = 512 + 64: padded to 1,024, tiles would leave no room for anything else.
    """
    whole = max(16, power_of_two(head_dim))
    if head_dim <= WHOLE:
        return (whole,)
    first = whole // 2
    rest = max(16, power_of_two(head_dim - first))
    sizes = (whole,) if rest == first else (first, rest)
    return tuple(min(size, most) for size in sizes for _ in range(max(1, size // most)))


def begins_with(head_dim: int, value_dim: int) -> bool:
    """Return whether chunks of the first `value_dim` columns of a head are among its own chunks."""
    own, of_value = chunks(head_dim), chunks(value_dim)
    return value_dim == head_dim or (own[: len(of_value)] == of_value and sum(of_value) == value_dim)


def padded(head_dim: int) -> int:
    """Return how many columns a head size is padded to."""
    return sum(chunks(head_dim))
