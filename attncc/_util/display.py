"""How objects look in notebooks: classes name themselves here, and what draws them is imported when one is shown."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

_painters: dict[str, str] = {}


class Displayed:
    """Has HTML in notebooks, by the function that `drawn_by` was given for its class."""

    def _repr_html_(self) -> str | None:
        """Return the HTML; None, so that the text is shown, where the class has none."""
        place = _painters.get(type(self).__qualname__)
        if place is None:
            return None
        module, _, name = place.partition(":")
        drawn: str | None = getattr(importlib.import_module(module), name)(self)
        return drawn


def drawn_by(painters: Mapping[str, str]) -> None:
    """Say what draws the instances of classes: names of classes, and `module:function`, which returns HTML."""
    _painters.update(painters)
