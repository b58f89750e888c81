"""Variants: kernels with the types of their arguments, as they are compiled ahead of time."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.backends.triton.config import Config
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.program import Program, Side
from attncc.backends.triton.spec import Spec, strides_of
from attncc.backends.triton.steps import steps
from attncc.planner.directions import DIRECTIONS

#: Arguments in the dtype of the inputs.
_INPUTS = {"Q", "K", "V", "DO"}
_ARRAYS = {"items", "runs", "split_tiles", "part_numbers", "head_subset", "kv_groups"}
_ARRAYS |= {"row_positions", "col_positions", "start_slots", "stop_slots"}


@dataclass(frozen=True)
class Variant:
    """One kernel as it is compiled.

    types: of the arguments at run time, by name, as Triton writes them: "*bf16", "*i32", "i32", "fp32". constants:
    compile-time constants by name. aligned: arguments that are divisible by 16: pointers, and strides of such rows.
    """

    spec: Spec
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, int | str], ...]
    aligned: frozenset[str]
    num_warps: int
    num_stages: int


def variants(program: Program, dtype: str, *, backward: bool = True) -> list[Variant]:
    """Return the kernels of a program, each once, for inputs of a dtype ("bf16", "fp16" or "fp32")."""
    found: dict[Variant, None] = {}
    for direction in DIRECTIONS if backward else DIRECTIONS[:1]:
        for step in steps(program, direction):
            found[variant_of(step.launch, step.side, dtype, program.lowering.config)] = None
    return list(found)


def variant_of(launch: Launch, side: Side, dtype: str, config: Config) -> Variant:
    """Return the kernel of one launch."""
    spec = launch.spec
    constants: dict[str, int | str] = launch.constants(config.precision)
    types = {name: _pointer(name, spec, side, dtype) for name in spec.pointers}
    types |= {name: f"*{'i32' if table.is_narrow else 'i64'}" for name, table in spec.tables}
    types |= dict.fromkeys((*spec.strides, *spec.numbers), "i32")
    types |= dict.fromkeys(spec.weights, "*fp32")
    types |= {name: "*fp32" if name.startswith("sums") else "*i64" for name in spec.sum_arrays}
    if "scale" in types:
        types["scale"] = "fp32"
    if "qheads_per_kvhead" in types and launch.sizes.group == 1:
        del types["qheads_per_kvhead"]  # as triton does with integers that are 1
        constants["qheads_per_kvhead"] = 1
    columns = dict.fromkeys(("V", "O", "DO"), launch.sizes.value_dim)
    strides = {
        stride
        for name in spec.tensors
        if columns.get(name, launch.sizes.head_dim) % 16 == 0
        for stride in strides_of(name)
    }
    return Variant(
        spec,
        tuple((name, types[name]) for name in spec.arguments if name in types),
        tuple(constants.items()),
        frozenset({*spec.pointers, *strides}),
        launch.blocks.num_warps,
        launch.blocks.num_stages,
    )


def _pointer(name: str, spec: Spec, side: Side, dtype: str) -> str:
    if name in _ARRAYS:
        return "*i32"
    if name in _INPUTS:
        return f"*{dtype}"
    results = ("O", "DQ", "DK", "DV", "Grad")
    summed = spec.split or (spec.atomic and name == "DQ")
    return f"*{dtype}" if name in results and side.once and not summed else "*fp32"
