"""What is closed at the end of the `with` block that it is opened for."""

from __future__ import annotations

from typing import Self


class Closing:
    """A context manager whose block ends with `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what it owns, if it owns anything."""
