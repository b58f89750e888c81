"""Import hook: registers attncc's operators as soon as torch is imported, without importing it.

A program that torch has saved names operators, and torch looks them up before anything of attncc is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def register_operators() -> None:
    """Register the operators now if torch has been imported, or else when it is."""
    if "torch" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    from attncc.runtime import library  # noqa: F401  # importing it registers them


class _Finder:
    """Finds torch as the other finders do, and registers the operators once it has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return torch's specification with a loader that is followed by the registration; None for other modules."""
        if name != "torch":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: object) -> None:
        load = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module")
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        loader.exec_module = exec_module  # type: ignore[attr-defined]
