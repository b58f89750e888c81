"""Dense attention: vanilla (scores in memory) and flash (scores never leave the chip), as a roofline.

On one device, and on the ranks of a topology, each of which gathers all keys and computes its own queries.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.simulation.baselines import ORDERS, Baseline, BlockScenario, all_gather
from attncc.distributed.simulation.simulate import BACKWARD
from attncc.ir.tables import Array
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


def gathered(scenario: BlockScenario, name: str, *, causal: bool) -> Baseline:
    """Return dense attention on the ranks of a scenario: all keys gathered by each, for its own queries.

    What a pair costs on a rank is what it costs on one device. A backward takes BACKWARD times as long, as it does for
    all others in the simulation.

    Args:
        name: `vanilla` or `flash`.
        causal: Whether flash attention leaves out the pairs above the diagonal. Vanilla attention computes all.
    """
    causal &= name == "flash"
    inputs, length = scenario.inputs, scenario.length
    heads = inputs.batch * inputs.heads
    contiguous, cyclic = (heads * _pairs(scenario.tokens(order), order, causal=causal) for order in ORDERS)
    factor = BACKWARD / float(contiguous.sum()) if scenario.direction == "backward" else 1 / float(contiguous.sum())
    costs = {}
    for each in scenario.topology.targets:
        target = targets.target(each)
        if name == "vanilla":
            costs[each] = factor * vanilla_seconds(inputs, length, target)
        else:
            costs[each] = factor * flash_seconds(inputs, length, target, causal=causal)
    dense = replace(scenario, contiguous=contiguous, cyclic=cyclic, seconds_per_pair=costs)
    return replace(all_gather(dense), name=name)


def _pairs(tokens: Array, order: str, *, causal: bool) -> Array:
    """Return the pairs between the queries of each block and the keys of each, float64 (ranks, ranks)."""
    tokens = tokens.astype(float)
    rows, keys = np.indices((len(tokens), len(tokens)))
    if not causal:
        return np.outer(tokens, tokens)
    own = tokens[:, None] * (tokens[:, None] + 1) / 2
    if order == "contiguous":
        return np.where(keys < rows, np.outer(tokens, tokens), np.where(keys == rows, own, 0.0))
    return np.where(keys <= rows, own, own - tokens[:, None])  # query a of its block sees a keys of each, or one more


def matrix_rate(inputs: Inputs, target: Target) -> float:
    """Return the FLOP/s of a large matrix product."""
    if target.gpu is None or inputs.dtype not in target.gpu.tensor:
        return target.flops
    return target.gpu.tensor[inputs.dtype] * target.gpu.sustained


def _memory(target: Target) -> float:
    return HOST_MEMORY if target.gpu is None else target.gpu.memory
