"""PyTorch's names for what symbols can do, so that functions written for FlexAttention run on them as they are.

`torch.clamp(i, 0, 9)` and `i.clamp(0, 9)` both find the function of that name here.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attncc.errors import AttnccWarning, PatternError
from attncc.frontend import real
from attncc.frontend.language import Index, index_of, maximum, minimum, where
from attncc.frontend.real import Real, is_real, real_of
from attncc.ir.condition import Condition
from attncc.ir.predicate import FALSE, TRUE


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


def _divided(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode not in (None, "floor"):
        raise PatternError(
            f"torch.div with rounding_mode={rounding_mode!r}.",
            rule="Quotients of positions are exact fractions, or rounded down.",
            fix='Write a // b, or rounding_mode="floor".',
        )
    return a / b if rounding_mode is None else a // b


def _truth(x: Any) -> Condition:
    return x if isinstance(x, Condition) else x != 0


def _integer(x: Any) -> Index:
    if isinstance(x, Real):
        raise PatternError(
            "A real number was converted to an integer.",
            rule="Whether pairs are connected is decided by integers, exactly.",
            fix="Write `//` instead of `/`, so that it stays an integer.",
        )
    return Index(x.cases) if isinstance(x, Index) else where(x, 1, 0)  # a Flag is no condition any more


def _floating(x: Any) -> Real:
    return Real(real_of(_integer(x) if isinstance(x, Condition) else x))


def _unrounded(x: Any) -> Real:
    """Return `x` as a real number, and warn that it isn't rounded to the type of 16 bits or fewer that was named."""
    warnings.warn(
        "A score_mod or mask_mod converts to floating-point numbers of 16 bits or fewer. attncc computes in 32 bits or "
        "more, and doesn't round on the way: results may differ in the last digits. Leave the conversion out.",
        AttnccWarning,
        stacklevel=2,
    )
    return _floating(x)


def _converted(x: Any, *args: Any, **named: Any) -> Any:
    """Tensor.to: the conversion to a dtype; devices are no matter."""
    for value in (*args, *named.values()):
        dtype = value if hasattr(value, "is_floating_point") and hasattr(value, "itemsize") else None
        if dtype is not None and not hasattr(value, "shape"):
            if not dtype.is_floating_point:
                return _converted_to(str(dtype).rpartition(".")[2], x)
            return _floating(x) if dtype.itemsize >= 4 else _unrounded(x)
    return x


#: Types of integers in which positions would wrap around.
_SHORT = frozenset({"uint8", "int8", "int16", "uint16"})


def _converted_to(name: str, x: Any) -> Any:
    """Return `x` as a boolean or an integer of a dtype; raises PatternError where positions would wrap around."""
    if name in _SHORT and not isinstance(x, Condition):
        raise PatternError(
            f"A position was converted to {name}.",
            rule="Integers have 64 bits here, and don't wrap around.",
            fix="Leave the conversion out, or write `% 256` where it is meant to wrap around.",
        )
    return _truth(x) if name == "bool" else _integer(x)


def _kept(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _not(x: Any) -> Any:
    return ~_truth(x)


def _filled(number: int, x: Any, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """Tensor.new_ones, torch.zeros_like, ...: a number of the dtype, by default of x's."""
    like = x if dtype is None else _converted(x, dtype)
    if isinstance(like, Condition):
        return Condition(TRUE if number else FALSE)
    return Real(real_of(number)) if isinstance(like, Real) else index_of(number)


def _sigmoid(x: Any) -> Any:
    x = Real(real_of(x))
    up, down = real.exp(minimum(x, 0)), real.exp(minimum(0, -x))  # neither overflows, nor do its gradients
    return up / (up + down)


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + real.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + real.erf(x * math.sqrt(0.5)))


#: What methods of tensors do whose arguments stand in another order than those of the function.
METHODS: Mapping[str, Callable[..., Any]] = {"where": lambda x, condition, other: where(condition, x, other)}

#: What torch's functions, and methods of tensors, of these names do to symbols.
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("abs", "absolute"), abs),
    **dict.fromkeys(("add", "__add__", "__radd__"), lambda a, b: a + b),
    **dict.fromkeys(("sub", "subtract", "__sub__"), lambda a, b: a - b),
    **dict.fromkeys(("rsub", "__rsub__"), lambda a, b: b - a),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), lambda a, b: a * b),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), _divided),
    "__rtruediv__": lambda a, b: b / a,
    **dict.fromkeys(("floor_divide", "__floordiv__"), operator.floordiv),
    "__rfloordiv__": lambda a, b: b // a,
    **dict.fromkeys(("remainder", "__mod__"), operator.mod),
    **dict.fromkeys(("__rmod__",), lambda a, b: b % a),
    **dict.fromkeys(("neg", "negative"), operator.neg),
    **dict.fromkeys(("pow", "__pow__"), operator.pow),
    **dict.fromkeys(("eq", "__eq__"), operator.eq),
    **dict.fromkeys(("ne", "not_equal", "__ne__"), operator.ne),
    **dict.fromkeys(("lt", "less", "__lt__"), operator.lt),
    **dict.fromkeys(("le", "less_equal", "__le__"), operator.le),
    **dict.fromkeys(("gt", "greater", "__gt__"), operator.gt),
    **dict.fromkeys(("ge", "greater_equal", "__ge__"), operator.ge),
    **dict.fromkeys(("bitwise_and", "__and__", "__rand__"), operator.and_),
    **dict.fromkeys(("bitwise_or", "__or__", "__ror__"), operator.or_),
    **dict.fromkeys(("bitwise_xor", "__xor__", "__rxor__"), operator.xor),
    **dict.fromkeys(("bitwise_not", "__invert__"), operator.invert),
    **dict.fromkeys(("bitwise_left_shift", "__lshift__"), operator.lshift),
    **dict.fromkeys(("bitwise_right_shift", "__rshift__"), operator.rshift),
    "logical_and": lambda a, b: _truth(a) & _truth(b),
    "logical_or": lambda a, b: _truth(a) | _truth(b),
    "logical_xor": lambda a, b: _truth(a) ^ _truth(b),
    "logical_not": _not,
    "where": where,
    **dict.fromkeys(("minimum",), minimum),
    **dict.fromkeys(("maximum",), maximum),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    "clamp_min": lambda x, min: _clamp(x, min),
    "clamp_max": lambda x, max: _clamp(x, None, max),
    **dict.fromkeys(("to", "type"), _converted),
    **dict.fromkeys(("long", "int"), _integer),
    **{
        name: partial(_converted_to, dtype) for name, dtype in (("short", "int16"), ("char", "int8"), ("byte", "uint8"))
    },
    **dict.fromkeys(("float", "double"), _floating),
    **dict.fromkeys(("half", "bfloat16"), _unrounded),
    "bool": _truth,
    **dict.fromkeys(("clone", "contiguous", "detach", "cpu", "cuda", "unsqueeze", "squeeze"), _kept),
    **dict.fromkeys(("new_ones", "ones_like"), partial(_filled, 1)),
    **dict.fromkeys(("new_zeros", "zeros_like"), partial(_filled, 0)),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "exp": real.exp,
    "exp2": lambda x: real.exp(math.log(2) * x),
    "log": real.log,
    "log2": lambda x: real.log(x) / math.log(2),
    "sqrt": real.sqrt,
    "rsqrt": lambda x: 1 / real.sqrt(x),
    "tanh": real.tanh,
    "sin": real.sin,
    "cos": real.cos,
    "erf": real.erf,
    "sigmoid": _sigmoid,
    "relu": lambda x, inplace=False: maximum(x, 0.0 if is_real(x) else 0),
    "silu": lambda x, inplace=False: x * _sigmoid(x),
    "gelu": _gelu,
}
