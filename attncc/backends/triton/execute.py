"""Execution: a program's kernels on tensors, pass after pass."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from attncc.backends.base import Gradients, Saved
from attncc.backends.device import architecture, processors
from attncc.backends.logsum import LogSum
from attncc.backends.triton import interpreter, reads
from attncc.backends.triton.bound import LOG_2_E, Bindings
from attncc.backends.triton.config import Config
from attncc.backends.triton.defaults import ANY
from attncc.backends.triton.launch import Launch, Sizes
from attncc.backends.triton.lower import NARROW, Lowering
from attncc.backends.triton.program import Part, Program, Side
from attncc.backends.triton.sums import in_turn
from attncc.errors import BackendError
from attncc.ir.score import ScoreExpression
from attncc.planner.plan import Plan

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class TritonExecutable:
    """A plan with its programs, one for each kind of tensors; see attncc.backends.base.Executable for shapes."""

    plan: Plan
    score: ScoreExpression
    config: Mapping[str, object]
    _programs: dict[object, Bindings] = field(default_factory=dict, repr=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse)."""
        if _vanishes(scale):
            return self.forward(torch.zeros_like(query), key, value, weights, 1.0)
        if scale < 0:  # the running maximum wants a scale that keeps the order
            return self.forward(-query, key, value, weights, -scale)
        query, key, value = (_rows_of(x) for x in (query, key, value))
        side = (bindings := self._bindings(query, key, value)).program.forward
        out = query.new_empty(*query.shape[:-1], value.shape[-1], dtype=_kept(side, query))
        rows = {name: query.new_empty(query.shape[:-1], dtype=torch.float32) for name in bindings.program.of_rows}
        if not side.covers:
            out.zero_()
            for name, nothing in zip(rows, (-math.inf, 0.0), strict=False):
                rows[name].fill_(nothing)
        run = _Run(bindings, query, scale)
        tensors = {"Q": query, "K": key, "V": value, "O": out, **rows, **_named("weights", weights)}
        with _current(query.device):
            for part in side.parts:
                run.forward(part, tensors)
        return out.to(query.dtype), LogSum(*rows.values())

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients of query, key and value, and of the weights."""
        if _vanishes(scale):
            without = replace(saved, query=torch.zeros_like(saved.query))
            found = self.backward(without, grad_out, grad_lse, 1.0, with_weights)
            return found._replace(query=torch.zeros_like(saved.query), key=torch.zeros_like(saved.key))
        if scale < 0:
            found = self.backward(replace(saved, query=-saved.query), grad_out, grad_lse, -scale, with_weights)
            return found._replace(query=-found.query)
        return self._gradients(saved, grad_out, grad_lse, scale, with_weights)

    def _gradients(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return what `backward` does, for a scale above 0."""
        query, key, value, grad, out = map(_rows_of, (saved.query, saved.key, saved.value, grad_out, saved.out))
        weights = saved.weights
        bindings = self._bindings(query, key, value, grad, weighted=with_weights and bool(self.score.lookups))
        program = bindings.program
        if program.atomic:
            _warn_of_order("dQ and the gradients of weights, under config atomic=True,")
        run = _Run(bindings, query, scale)
        sums = [torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in weights if with_weights]
        results = {
            "DQ": _results(query, None if program.atomic else program.query_gradient),
            "DK": _results(key, program.key_gradient),
            "DV": _results(value, program.key_gradient),
        }
        tensors = {"Q": query, "K": key, "V": value, "DO": grad, **results}
        tensors |= _named("weights", weights) | _named("d_weights", sums)
        with _current(query.device):
            tensors |= run.delta(grad, grad_lse, out, saved.lse)
            for part in () if program.atomic else program.query_gradient.parts:
                run.gradient(part, tensors, ("DQ",))
            for part in program.key_gradient.parts:
                run.gradient(part, tensors, ("DK", "DV"))
        d_query, d_key, d_value = (x.to(query.dtype) for x in results.values())
        return Gradients(d_query, d_key, d_value, [d.to(x.dtype) for d, x in zip(sums, weights, strict=False)])

    def _bindings(self, query: Tensor, *others: Tensor, weighted: bool = False) -> Bindings:
        key, value = others[:2]
        far = any(x.shape[2] * x.stride(2) >= NARROW for x in (query, *others))
        known = (query.shape, key.shape, value.shape, query.dtype, query.device, weighted, far)
        if known not in self._programs:
            self._programs[known] = Bindings(self._made(query, key, value, weighted, far))
        return self._programs[known]

    def _made(self, query: Tensor, key: Tensor, value: Tensor, weighted: bool, far: bool) -> Program:
        if interpreter.is_on():
            interpreter.prepare()
        batch, heads, _, head_dim = query.shape
        sizes = Sizes(head_dim, value.shape[-1], query.element_size(), heads // key.shape[1])
        arch = architecture(query.device) or ANY
        config = Config.default(arch, max(head_dim, value.shape[-1]), sizes.itemsize).changed(self.config)
        score = None if self.score.is_identity else self.score
        lowering = Lowering(
            sizes, config, processors(query.device), score, weighted, far, not reads.are_pipelined(arch)
        )
        return Program(self.plan, lowering, batch, heads, key.shape[1], query.device)


@dataclass(frozen=True, eq=False)
class _Run:
    """One call's kernels: what they all get."""

    bindings: Bindings
    query: Tensor
    scale: float

    def forward(self, part: Part, tensors: Tensors) -> None:
        """Run one part's forward kernels."""
        work = part.work
        if work.whole:
            self.launch(work.whole, part, tensors)
        if work.split:
            rows = part.programs(work.split) * work.split.blocks.block_m
            out_parts = self.query.new_empty(rows, tensors["V"].shape[-1], dtype=torch.float32)
            parts = {name: self.query.new_empty(rows, dtype=torch.float32) for name in self.bindings.program.of_rows}
            self.launch(work.split, part, {**tensors, "O": _as_rows(out_parts), **parts})
            (join,) = work.joins
            named = {f"{name}_parts": x for name, x in parts.items()}
            self.launch(join, part, {**tensors, "O_parts": out_parts, **named})

    def gradient(self, part: Part, tensors: Tensors, outputs: tuple[str, ...]) -> None:
        """Run one part's kernels that compute the gradients `outputs`."""
        work = part.work
        if work.whole:
            self.launch(work.whole, part, tensors)
        if work.split:
            parts = {name: self._workspace(work.split, part, tensors[name]) for name in outputs}
            self.launch(work.split, part, {**tensors, **{name: _as_rows(x) for name, x in parts.items()}})
            for join, (name, summands) in zip(work.joins, parts.items(), strict=True):
                self.launch(join, part, {"Grad_parts": summands, "Grad": tensors[name]})

    def delta(self, grad: Tensor, grad_lse: Tensor | None, out: Tensor, found: LogSum) -> dict[str, Tensor]:
        """Return what the gradient kernels read for each query row: `delta`, `lse` in their units, its remainder."""
        program = self.bindings.program
        launch = program.delta if grad_lse is None else program.delta_with_lse
        lse = found.value.contiguous()  # kernels count its elements; it may be a slice of another's rows
        delta, in_units = torch.empty_like(lse), torch.empty_like(lse)
        tensors = {"DO": grad, "O": out, "LSE": lse, "Delta": delta, launch.spec.lse_of_gradients: in_units}
        if grad_lse is not None:
            tensors["DLSE"] = grad_lse.to(torch.float32).contiguous()
        if lse.numel():
            self._call(launch, launch.count * self.query.shape[0] * self.query.shape[1], tensors)
        rest = {"Remainder": found.rest.contiguous()} if launch.spec.remainder else {}
        return {"Delta": delta, "LSE": in_units, **rest}

    def launch(self, launch: Launch, part: Part, tensors: Tensors) -> None:
        """Launch one kernel; what its programs sum for the gradients of weights is added to these."""
        if not launch.spec.sums:
            self._call(launch, part.programs(launch), tensors)
        for sums in in_turn(launch, part.programs(launch), self.query.device) if launch.spec.sums else ():
            self._call(launch, sums.last - sums.first, {**tensors, **sums.arrays}, sums.first)
            sums.add_to(launch, tensors)

    def _workspace(self, launch: Launch, part: Part, like: Tensor) -> Tensor:
        """Return room for one part an item, (rows, D), float32."""
        of_keys = launch.spec.kernel == "key_gradient"
        rows = launch.blocks.block_n if of_keys else launch.blocks.block_m
        return like.new_empty(part.programs(launch) * rows, like.shape[-1], dtype=torch.float32)

    def _call(self, launch: Launch, programs: int, tensors: Tensors, first: int = 0) -> None:
        self.bindings.of(launch)(programs, tensors, self.scale, first)


def _vanishes(scale: float) -> bool:
    """Return whether a scale is 0 in float32, where it would make NaN of the -inf of pairs that aren't connected."""
    return bool(np.float32(scale * LOG_2_E) == 0)


def _warn_of_order(what: str) -> None:
    """Raise BackendError, or warn, where torch is told to keep to algorithms whose sums have one order."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    if torch.is_deterministic_algorithms_warn_only_enabled():
        warnings.warn(f"The triton backend adds up {what} with atomics.", stacklevel=2)
        return
    raise BackendError(
        f"The triton backend adds up {what} with atomics.",
        rule="torch.use_deterministic_algorithms(True) allows sums of one order only.",
        fix="Name backend='torch', or allow it with warn_only=True.",
    )


def _named(kind: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return weights, or their gradients, by argument name."""
    return {f"{kind}_{slot}": tensor.contiguous() for slot, tensor in enumerate(tensors)}


def _rows_of(x: Tensor) -> Tensor:
    """Return x with rows of contiguous elements."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _as_rows(x: Tensor) -> Tensor:
    """Return a workspace (rows, D) as a tensor with strides of (batch, head, row), which its kernel doesn't use."""
    return x[None, None]


def _kept(side: Side, x: Tensor) -> torch.dtype:
    """Return the dtype of results: partial ones stay in float32."""
    return x.dtype if side.once else torch.float32


def _results(x: Tensor, side: Side | None) -> Tensor:
    """Return a tensor for the gradient of x: uninitialised if its kernels write all of it, else zeros."""
    if side is None:  # added up with atomics
        return torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    empty = torch.empty if side.covers else torch.zeros
    return empty(x.shape, dtype=_kept(side, x), device=x.device)


def _current(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make a GPU the current one; the interpreter computes with numpy, which shall be as silent as a GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else np.errstate(all="ignore")
