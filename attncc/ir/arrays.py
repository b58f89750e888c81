"""What callers give for tables, offsets and lengths, as arrays on the host."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from attncc._util.tracing import becomes_constant
from attncc.errors import AttnccWarning, TableError
from attncc.ir.pyramid import Array


def as_array(data: Any) -> Array:
    """Return an array, a list or a tensor on any device as an array; raises TableError for what is none."""
    try:
        if hasattr(data, "detach"):  # a tensor, on any device
            if becomes_constant(data):
                _warn_of_constant()
            data = data.detach().cpu().numpy()
        return np.asarray(data)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:  # RuntimeError: no data, as under vmap
        raise TableError(
            f"{type(data).__name__} can't be read as a table: {str(error).rstrip('.')}.",
            rule="A table is an array of integers or booleans, or a list of them.",
            fix="Give rows of one length, or numpy.asarray(...) of what it is.",
        ) from error


def _warn_of_constant() -> None:
    warnings.warn(
        "make_fx records a table, an offset or lengths that are inputs of the function as constants of its graph, "
        "which goes on with the present ones. torch.compile and torch.export make them inputs of theirs.",
        AttnccWarning,
        stacklevel=2,
    )
