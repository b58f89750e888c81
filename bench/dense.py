"""Dense attention on one device: vanilla (scores in memory) and flash (scores never leave the chip), as a roofline."""

from __future__ import annotations

import math

from attncc.backends.inputs import Inputs
from attncc.targets import Target

#: Kernels of vanilla attention for a block of rows: query times key, softmax, probabilities times value.
KERNELS = 3
#: Share of a device's memory that scores and probabilities may fill, next to the inputs and what a library holds.
SCORES_SHARE = 0.5
#: Memory taken for a target that doesn't state any (a CPU), bytes.
HOST_MEMORY = 16e9


def vanilla_seconds(inputs: Inputs, length: int, target: Target) -> float:
    """Return the seconds of a forward with materialised scores, in blocks of rows that fit half of the memory.

    For each block, three kernels one after another, each as long as its arithmetic or its memory traffic takes,
    whichever is longer. With S = batch * heads * length^2 scores of the inputs' type and e bytes each:
    query times key does 2 * S * head_dim FLOPs and writes S * e bytes; softmax reads S * e and writes S * e; the other
    product does 2 * S * value_dim FLOPs and reads S * e. Matrix products run at the target's peak for the type times
    `sustained`, without a GPU's facts at `flops`. Not counted, in its favour: a mask, scaling, arithmetic of the
    softmax, and reads of query, key and value.
    """
    scores = inputs.batch * inputs.heads * length**2
    memory, rate = _memory(target), matrix_rate(inputs, target)
    stored = scores * inputs.itemsize / target.bandwidth
    products = [2 * scores * width / rate for width in (inputs.head_dim, inputs.value_dim)]
    blocks = math.ceil(2 * scores * inputs.itemsize / (SCORES_SHARE * memory))
    return sum(max(stored, product) for product in products) + 2 * stored + KERNELS * blocks * target.launch


def flash_seconds(inputs: Inputs, length: int, target: Target, *, causal: bool) -> float:
    """Return the seconds of a fused forward: its FLOPs at the target's `flops`, as the planner's own passes.

    Causal attention counts length * (length + 1) / 2 scores for each head, 2 * (head_dim + value_dim) FLOPs for each.
    """
    scores = length * (length + 1) / 2 if causal else float(length) ** 2
    flops = 2 * (inputs.head_dim + inputs.value_dim) * inputs.batch * inputs.heads * scores
    return flops / target.flops + target.launch


def matrix_rate(inputs: Inputs, target: Target) -> float:
    """Return the FLOP/s of a large matrix product."""
    if target.gpu is None or inputs.dtype not in target.gpu.tensor:
        return target.flops
    return target.gpu.tensor[inputs.dtype] * target.gpu.sustained


def _memory(target: Target) -> float:
    return HOST_MEMORY if target.gpu is None else target.gpu.memory
