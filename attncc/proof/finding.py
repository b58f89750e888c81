"""What came of a proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attncc.planner.passes import Group


@dataclass(frozen=True)
class Finding:
    """A property, whether it holds (None: not decided), a sentence that says why, and a counterexample if it fails."""

    name: str
    holds: bool | None
    detail: str
    counterexample: Mapping[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`proved`, `refuted` or `undecided`."""
        return {True: "proved", False: "refuted", None: "undecided"}[self.holds]

    def describe(self) -> dict[str, object]:
        """Return the finding as JSON-able data."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "detail": self.detail,
            "counterexample": dict(self.counterexample),
        }


def of_group(group: Group) -> dict[str, object]:
    """Return the first batch entry and head of a group, where they matter."""
    return place(group.batches[0] if group.batches else None, group.heads[0] if group.heads else None)


def place(batch: int | None, head: int | None) -> dict[str, object]:
    """Return the batch entry and head of a counterexample, where they matter."""
    numbers = {"batch": batch, "head": head}
    return {name: number for name, number in numbers.items() if number is not None}


def named(where: Mapping[str, object]) -> str:
    """Return " in head 3" for a place, and nothing for one that doesn't matter."""
    return "".join(f" in {name} {number}" for name, number in where.items())
