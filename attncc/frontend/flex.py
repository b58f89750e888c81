"""FlexAttention's functions as they are: `from_mask_mod` makes a pattern, `from_score_mod` a score."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from inspect import signature
from types import FunctionType
from typing import Any

import numpy as np

from attncc._util import caching
from attncc.errors import AttnccError, PatternError, ScoreError, told
from attncc.frontend.captures import Captures
from attncc.frontend.graph_templates import check_untraced
from attncc.frontend.language import Index, Table
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.frontend.real import Real, real_of
from attncc.frontend.score_templates import Fixed
from attncc.frontend.scores import Score
from attncc.frontend.surroundings import surroundings
from attncc.frontend.templates import PatternTemplate
from attncc.ir.condition import Condition, is_scalar_tensor, predicate_of, taken
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import BY_NAME, SCORE

#: A function for FlexAttention: mask_mod(b, h, q_idx, kv_idx), or score_mod(score, b, h, q_idx, kv_idx).
Mod = Callable[..., Any]


def from_mask_mod(
    mask_mod: Mod, *, dense: tuple[int, int] | None = None, batch: int | None = None, heads: int | None = None
) -> Pattern:
    """Return the pattern of a function that was written for FlexAttention: `mask_mod(b, h, q_idx, kv_idx)`.

    The function runs once, with symbols. It may use arithmetic, comparisons, `& | ^ ~`, torch's functions of single
    numbers (`torch.abs`, `torch.where`, `torch.clamp`, ...) and tensors' methods of the same names, other such
    functions, and look-ups `tensor[q_idx]`. Tensors that it looks up become tables of the pattern. They are read when
    the pattern is made: after writing to one, make the pattern again. `attncc.attention` does so when it is given the
    function itself.

    Args:
        mask_mod: The function; it returns a boolean.
        dense: (Nq, Nk). The function is called with all positions up to these at once, instead of symbols, as
            FlexAttention calls it, and the pattern is the table that it returns. It takes Nq x Nk bytes, and is for
            functions that do more than the above.
        batch: With `dense`, the number of batch entries, where the function depends on b.
        heads: With `dense`, the number of heads, where it depends on h. Without, h is 0 and so is b, as FlexAttention
            calls a function for a mask of one head.

    Raises:
        PatternError: For what can't be a predicate of positions.
        TableError: For a tensor that can't be a table.
    """
    name = _name_of(mask_mod)
    check_untraced(name)
    _check_sizes(dense, batch, heads)
    if dense is not None:
        return _tabulated(mask_mod, name, (batch or 1, heads or 1, *dense))
    if isinstance(mask_mod, FunctionType):
        return _kept(mask_mod, name, surroundings(mask_mod))
    return _pattern(mask_mod, name)


def from_score_mod(score_mod: Mod) -> Score:
    """Return the score of a function that was written for FlexAttention: `score_mod(score, b, h, q_idx, kv_idx)`.

    The function runs once, with symbols; see `from_mask_mod`. Floating-point tensors that it looks up become weights of
    the score, with gradients, and tensors of integers and booleans become tables. What it computes of tensors before it
    looks them up, as in `(weights * 2)[h]`, is computed once: for several steps of training write `2 * weights[h]`, or
    pass the function itself to `attncc.attention`.

    Args:
        score_mod: The function; it returns what takes the score's place. -inf masks the pair.

    Raises:
        ScoreError: For what can't be a score.
        TableError: For a tensor that can't be a table or weights.
    """
    name = _name_of(score_mod)
    check_untraced(name)
    captures = Captures(score_mod, takes_weights=True)
    try:
        made = ScoreExpression(real_of(_called(score_mod, name, captures, Real(SCORE))))
    except PatternError as error:
        raise ScoreError(error.problem, rule=error.rule, fix=error.fix) from error
    made = made.with_tables({stand_in: table for table, stand_in in captures.tables})
    shapes = tuple(tuple(tensor.shape) for tensor in captures.weights.values())
    return Score(Fixed(made, tuple(captures.weights), shapes), captures.weights, name)


@caching.algebra(256)
def _kept(mask_mod: Mod, name: str, read: Hashable) -> Pattern:
    """Return the pattern of a function; `read` are its surroundings."""
    return _pattern(mask_mod, name)


def _pattern(mask_mod: Mod, name: str) -> Pattern:
    captures = Captures(mask_mod, takes_weights=False)
    result = _called(mask_mod, name, captures)
    if isinstance(result, Index) and not isinstance(result, Condition):
        result = result != 0
    if not isinstance(result, Condition | bool | np.bool_) and not is_scalar_tensor(result):
        raise PatternError(
            f"{name!r} returned {'floating-point numbers' if isinstance(result, Real) else f'{result!r:.100}'}.",
            rule="A mask_mod returns one boolean: whether the query sees the key.",
            fix="Return a comparison, such as q_idx >= kv_idx; join several with & or |.",
        )
    template = PatternTemplate([predicate_of(result)])
    return Pattern(template, name, None, tuple(table for table, _ in captures.tables))


def _called(mod: Mod, name: str, captures: Captures, *first: Any) -> Any:
    positions = [Index.of(BY_NAME[symbol]) for symbol in "bhij"]
    with _told_of(name, _OF_SYMBOLS, _FIX_OF_SCORES if first else _FIX_OF_MASKS), captures.taking():
        try:
            result = mod(*first, *positions)
        except TypeError:
            _check_arguments(mod, name, (*first, *positions))
            raise
        return taken(result) if is_scalar_tensor(result) else result


def _check_arguments(mod: Mod, name: str, arguments: tuple[Any, ...]) -> None:
    """Raise PatternError for a function that doesn't take these arguments."""
    try:
        signature(mod).bind(*arguments)
    except TypeError as error:
        takes = ", ".join(_TAKES[-len(arguments) :])
        raise PatternError(
            f"{name!r} can't be called with {takes}: {error}.",
            rule=_OF_SYMBOLS,
            fix=f"Take {takes}, and bind other arguments with functools.partial.",
        ) from error


#: What functions are called with, and what may help where they raise.
_TAKES = ("score", "b", "h", "q_idx", "kv_idx")
_OF_SYMBOLS = (
    "A plain function is taken for one of FlexAttention's, and runs once, with symbols for b, h, q_idx, kv_idx; "
    "attncc's own stand under @attncc.pattern or @attncc.score."
)
_FIX_OF_SCORES = (
    "Use arithmetic, comparisons, torch's functions of single numbers, and look-ups in tensors; make tensors of arrays "
    "(torch.as_tensor), and of what depends on one position alone."
)
_FIX_OF_MASKS = f"{_FIX_OF_SCORES} Or let attncc.from_mask_mod(..., dense=(Nq, Nk)) look at every pair."
_OF_POSITIONS = (
    "With dense=(Nq, Nk), torch.vmap calls the function with tensors of all positions, as FlexAttention does.",
    "Return a boolean tensor without dimensions, and look tensors up within their sizes.",
)


@contextmanager
def _told_of(name: str, rule: str, fix: str) -> Iterator[None]:
    """Raise what a function raises as a PatternError."""
    try:
        yield
    except AttnccError:
        raise
    except Exception as error:
        raise PatternError(f"{name!r} raised {told(error)}.", rule=rule, fix=fix) from error


@pattern
def tabulated(i: Index, j: Index, *, mask: Table) -> Any:
    """The pairs for which a function returned True."""
    return mask[i, j]


def _check_sizes(dense: object, batch: object, heads: object) -> None:
    given = [size for size in (batch, heads) if size is not None]
    pair = dense if isinstance(dense, tuple | list) and len(dense) == 2 else () if dense is None else (None,)
    fits = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in (*pair, *given))
    if not fits or (given and dense is None):
        raise PatternError(
            f"dense={dense!r}, batch={batch!r}, heads={heads!r}.",
            rule="dense is (Nq, Nk), and batch and heads go with it; all are positive integers.",
            fix="Write dense=(1024, 1024), for example, or leave all of them out.",
        )


def _tabulated(mask_mod: Mod, name: str, sizes: tuple[int, ...]) -> Pattern:
    """Return the pattern of what a function returns for all positions, as FlexAttention maps it over them."""
    if (torch := sys.modules.get("torch")) is None:
        raise PatternError(
            f"from_mask_mod({name}, dense=...) without torch.",
            rule="The function is called with tensors.",
            fix="Write `import torch`, or leave `dense` out: without tensors a function is made of symbols alone.",
        )
    mapped = mask_mod
    for axes in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None), (0, None, None, None)):
        mapped = torch.vmap(mapped, in_dims=axes)
    with _told_of(name, *_OF_POSITIONS):
        mask = mapped(*(torch.arange(n) for n in sizes)).bool().expand(sizes)
    found = tabulated(mask=mask)
    return Pattern(found.template, name, None, found.tables)


def _name_of(mod: object) -> str:
    if not callable(mod):
        raise PatternError(
            f"{mod!r:.80} ({type(mod).__name__}) is not a function.",
            rule="They are mask_mod(b, h, q_idx, kv_idx) and score_mod(score, b, h, q_idx, kv_idx).",
            fix="Pass the function itself.",
        )
    return getattr(mod, "__name__", type(mod).__name__)
