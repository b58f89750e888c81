"""Elements of masks: booleans that refuse to be taken for numbers, as models with attention of their own do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attncc.errors import AttnccError

#: Functions that take a mask for numbers if another argument is one: True would count as 1.
_NUMERIC = frozenset({"add", "add_", "__radd__", "baddbmm", "addmm", "lt", "gt", "le", "ge"})
#: Conversions, after which a mask of ones and zeros is a mask still.
_CONVERTING = frozenset({"to", "type", "type_as", "float", "half", "bfloat16", "double"})
#: Those that write numbers into a mask, or add columns of them; what joins masks alone doesn't.
_WRITING = frozenset({"pad", "__setitem__"})
_JOINING = frozenset({"cat", "concat", "concatenate"})


class MaskElements(Tensor):
    """The elements of a mask, or a part of them, bool or converted: true where a query sees a key.

    Eager attention has masks of numbers, which are added to scores. A model that has such attention of its own, and no
    other, would add 1 to the scores of what is seen. torch.compile leaves the graph wherever one is used.
    """

    @classmethod
    def of(cls, mask: Tensor) -> MaskElements:
        """Return a mask's elements. They aren't a view: Dynamo would ask for its base, which is a view again."""
        return Tensor._make_subclass(cls, mask)

    @classmethod
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        refuse_numbers(function, args)
        with torch._C.DisableTorchFunctionSubclass():
            found = function(*args, **(kwargs or {}))
        if not isinstance(found, Tensor):
            return found
        is_mask = found.dtype == torch.bool or getattr(function, "__name__", "") in _CONVERTING
        return cls.of(found) if is_mask else found


def refuse_numbers(function: Any, args: tuple[Any, ...]) -> None:
    """Raise AttnccError for a function that takes a mask, which is one of its arguments, for numbers."""
    name = getattr(function, "__name__", "")
    joins_others = name in _JOINING and not all(isinstance(part, MaskElements) for part in args[0])
    if joins_others or name in _WRITING or (name in _NUMERIC and any(map(_is_number, args))):
        raise AttnccError(
            f"A model computes with its mask as with numbers: {name}.",
            rule="attncc's masks are booleans, True where a query sees a key, for attention that a model calls through "
            "Transformers' AttentionInterface. This model has attention of its own, or adds keys to its masks.",
            fix='Load this model with attn_implementation="eager".',
        )


def _is_number(value: Any) -> bool:
    return value.dtype != torch.bool if isinstance(value, Tensor) else not isinstance(value, bool)
