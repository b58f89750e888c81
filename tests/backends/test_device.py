"""Arrays on devices."""

from __future__ import annotations

import numpy as np
import torch

from attncc.backends.device import placed


def test_a_read_only_array_is_copied() -> None:
    """Planning returns views that repeat a row; tensors that share their memory would overwrite each other."""
    view = np.broadcast_to(np.arange(3), (2, 3))
    tensor = placed(view, torch.device("cpu"))
    tensor[0] += 5
    assert tensor.tolist() == [[5, 6, 7], [0, 1, 2]]
    assert view.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_another_array_is_shared() -> None:
    array = np.arange(3)
    placed(array, torch.device("cpu")).add_(1)
    assert array.tolist() == [1, 2, 3]
