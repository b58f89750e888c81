"""Execution: the kernels of a lowered plan on tensors, launch after launch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from attncc.backends.base import Gradients, Saved
from attncc.backends.binding.programs import DeviceBinding, Tables
from attncc.backends.device import architecture, processors
from attncc.backends.latent import is_view_of_key
from attncc.backends.logsum import LogSum
from attncc.backends.triton import interpreter
from attncc.backends.triton.bound import LOG_2_E, BoundLaunches, CallSite
from attncc.backends.triton.defaults import ANY
from attncc.backends.triton.launch import HeadShape, Launch, Phase
from attncc.backends.triton.loader import forward_results, gradient, joined, workspace
from attncc.backends.triton.lower import NARROW, Lowering
from attncc.backends.triton.lowered_plan import LoweredPhases, LoweredPlan
from attncc.backends.triton.prepared import PreparedPhases
from attncc.backends.triton.weight_sums import in_turn
from attncc.errors import BackendError
from attncc.ir.score import ScoreExpression
from attncc.planner.plan import Plan
from attncc.planner.preparation import PreparedPattern

Tensors = Mapping[str, Tensor]
_NOTHING = contextlib.nullcontext()
#: Ways of lying in memory that launches are kept for; then all are forgotten.
MOST_SITES = 256
#: The greatest number that float32 rounds to 0: half of its least one.
_VANISHING = float(np.finfo(np.float32).smallest_subnormal) / 2


@dataclass(frozen=True, eq=False)
class TritonExecutable:
    """A plan, lowered anew for each kind of tensors; see attncc.backends.base.Executable for shapes."""

    plan: Plan | PreparedPattern
    score: ScoreExpression
    config: Mapping[str, object]
    phases: Callable[..., LoweredPhases] = LoweredPlan
    binding: DeviceBinding | None = None
    _bound: dict[object, BoundLaunches] = field(default_factory=dict, repr=False)
    _sites: dict[object, CallSite] = field(default_factory=dict, repr=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse)."""
        if _vanishes(scale):
            return self.forward(torch.zeros_like(query), key, value, weights, 1.0)
        if scale < 0:  # the running maximum wants a scale that keeps the order
            return self.forward(-query, key, value, weights, -scale)
        query, key, value = _in_rows(query, key, value)
        site = self._site(query, key, value, weights=weights)
        phase = site.bound.lowered.forward
        results = forward_results(query, value, phase.writes, covers=phase.covers, once=phase.once)
        tensors = {"Q": query, "K": key, "V": value, **results}
        if weights:
            tensors |= _named("weights", weights)
        with _current(query.device, site):
            _Launcher(site, scale, self.binding).run(phase, tensors)
        out, *rows = results.values()
        return out.to(query.dtype), LogSum(*rows)

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients of query, key and value, and of the weights."""
        if _vanishes(scale):
            without = replace(saved, query=torch.zeros_like(saved.query))
            gradients = self.backward(without, grad_out, grad_lse, 1.0, with_weights)
            return gradients._replace(query=torch.zeros_like(saved.query), key=torch.zeros_like(saved.key))
        if scale < 0:
            gradients = self.backward(replace(saved, query=-saved.query), grad_out, grad_lse, -scale, with_weights)
            return gradients._replace(query=-gradients.query)
        return self._gradients(saved, grad_out, grad_lse, scale, with_weights)

    def _gradients(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients for a scale above 0."""
        query, key, value, grad, out = _in_rows(saved.query, saved.key, saved.value, grad_out, saved.out)
        weights = saved.weights
        weighted = with_weights and bool(self.score.lookups)
        site = self._site(query, key, value, grad, out, weights=weights, weighted=weighted)
        lowered = site.bound.lowered
        if lowered.atomic:
            _warn_of_atomics()
        sums = [torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in weights if with_weights]
        of_query, of_keys = None if lowered.atomic else lowered.query_gradient, lowered.key_gradient
        results = {"DQ": _result(query, of_query), "DK": _result(key, of_keys), "DV": _result(value, of_keys)}
        tensors = {"Q": query, "K": key, "V": value, "DO": grad, **results}
        if weights:
            tensors |= _named("weights", weights) | _named("d_weights", sums)
        launcher = _Launcher(site, scale, self.binding)
        with _current(query.device, site):
            tensors |= launcher.delta(grad, grad_lse, out, saved.lse)
            for phase in lowered.gradients:
                launcher.run(phase, tensors)
        d_query, d_key, d_value = (x.to(query.dtype) for x in results.values())
        return Gradients(d_query, d_key, d_value, [d.to(x.dtype) for d, x in zip(sums, weights, strict=False)])

    def _site(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *others: Tensor,
        weights: Sequence[Tensor] = (),
        weighted: bool = False,
    ) -> CallSite:
        """Return the place of calls on tensors that lie as these do; those of the last kinds are kept."""
        latent = is_view_of_key(value, key)
        sizes = query.shape, query.stride(), key.shape, key.stride(), value.shape, value.stride()
        others_lie, typed = tuple([x.stride() for x in others]), tuple([x.dtype for x in weights])
        alike = sizes, query.dtype, query.device, weighted, latent, others_lie, typed
        if (found := self._sites.get(alike)) is None:
            if len(self._sites) >= MOST_SITES:
                self._sites.clear()
            far = max([x.shape[2] * x.stride(2) for x in (query, key, value, *others)]) >= NARROW
            bound = self._bound_launches(query, key, value, weighted=weighted, far=far, latent=latent)
            found = self._sites[alike] = CallSite(bound, interpreter.is_on())
        return found

    def _bound_launches(self, query: Tensor, key: Tensor, value: Tensor, **choices: bool) -> BoundLaunches:
        """Return the launches for tensors of this kind, which are lowered once."""
        kind = (query.shape, key.shape, value.shape, query.dtype, query.device, *choices.values())
        if kind not in self._bound:
            self._bound[kind] = BoundLaunches(self._lowered(query, key, value, **choices))
        return self._bound[kind]

    def _lowered(self, query: Tensor, key: Tensor, value: Tensor, **choices: bool) -> LoweredPhases:
        if interpreter.is_on():
            interpreter.prepare()
        batch, heads, _, head_dim = query.shape
        shape = HeadShape(head_dim, value.shape[-1], query.element_size(), heads // key.shape[1])
        arch, score = architecture(query.device) or ANY, None if self.score.is_identity else self.score
        lowering = Lowering.on(arch, processors(query.device), shape, self.config, score=score, **choices)
        return self.phases(self.plan, lowering, batch, heads, key.shape[1], query.device)


@dataclass(frozen=True, eq=False)
class TritonPrepared:
    """A prepared pattern; see attncc.backends.base.Prepared. Its launches are lowered once for all tables."""

    pattern: PreparedPattern
    score: ScoreExpression
    config: Mapping[str, object]
    _bound: dict[object, BoundLaunches] = field(default_factory=dict, repr=False)
    _sites: dict[object, CallSite] = field(default_factory=dict, repr=False)

    def bind(self, tables: Tables) -> TritonExecutable:
        """Return the executable for these tables."""
        binding = DeviceBinding(self.pattern.shape, tables)
        kept = self._bound, self._sites
        return TritonExecutable(self.pattern, self.score, self.config, PreparedPhases, binding, *kept)


@dataclass(eq=False, slots=True)
class _Launcher:
    """Launches the kernels of one call."""

    site: CallSite
    scale: float
    binding: DeviceBinding | None

    def run(self, phase: Phase, tensors: Tensors) -> None:
        """Launch a phase's kernels; split tiles go to a workspace until they are joined."""
        parts: dict[str, Tensor] = {}
        for launch in phase.launches:
            role = launch.spec.role
            if role == "split":
                parts = workspace(launch.writes, launch.programs * launch.tile_rows, tensors)
                self._launch(launch, {**tensors, **parts})
            elif role == "join":
                self._launch(launch, {**tensors, **joined(launch.writes, parts, tensors)})
            else:
                self._launch(launch, tensors)

    def delta(self, grad: Tensor, grad_lse: Tensor | None, out: Tensor, lse: LogSum) -> dict[str, Tensor]:
        """Return the rows that the gradient kernels read: `Delta`, and `LSE` in their units with its remainder."""
        lowered = self.site.bound.lowered
        (launch,) = (lowered.delta if grad_lse is None else lowered.delta_with_lse).launches
        value = lse.value.contiguous()  # kernels count its elements; it may be a slice of another's rows
        delta, scaled = torch.empty_like(value), torch.empty_like(value)
        tensors = {"DO": grad, "O": out, "LSE": value, "Delta": delta, launch.spec.scaled_lse: scaled}
        if grad_lse is not None:
            tensors["DLSE"] = grad_lse.to(torch.float32).contiguous()
        if value.numel():
            self._launch(launch, tensors)
        remainder = {"Remainder": lse.rest.contiguous()} if launch.spec.remainder else {}
        return {"Delta": delta, "LSE": scaled, **remainder}

    def _launch(self, launch: Launch, tensors: Tensors) -> None:
        """Launch one kernel; its programs' sums for the gradients of weights are added to these."""
        site, bound = self.site, self.site.bound
        if self.binding is not None:
            tensors = {**tensors, **bound.lowered.operands(self.binding, launch)}
        repeated = site.repeated.get(launch)
        if repeated is not None and repeated(tensors, self.scale):
            return
        if not launch.spec.sums:
            site.launch(launch, tensors, self.scale)
            return
        call = bound.of(launch)
        for sums in in_turn(launch, bound.lowered.device):
            call(sums.last - sums.first, {**tensors, **sums.arrays}, self.scale, sums.first)
            sums.add_to(launch, tensors)


def _vanishes(scale: float) -> bool:
    """Return whether a scale is 0 in float32, which times the -inf of pairs that aren't connected would be NaN."""
    return abs(scale * LOG_2_E) <= _VANISHING


def _warn_of_atomics() -> None:
    """Raise BackendError, or warn, where torch is told to keep to algorithms whose sums have one order."""
    problem = "The triton backend adds up dQ and the gradients of weights, under config atomic=True, with atomics."
    if not torch.are_deterministic_algorithms_enabled():
        return
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise BackendError(
            problem,
            rule="torch.use_deterministic_algorithms(True) allows sums of one order only.",
            fix="Name backend='torch', or allow it with warn_only=True.",
        )
    warnings.warn(problem, stacklevel=2)


def _named(kind: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return weights, or their gradients, by argument name."""
    return {f"{kind}_{slot}": tensor.contiguous() for slot, tensor in enumerate(tensors)}


def _in_rows(*tensors: Tensor) -> list[Tensor]:
    """Return tensors whose rows have contiguous elements."""
    return [x if x.stride(-1) == 1 else x.contiguous() for x in tensors]


def _result(like: Tensor, phase: Phase | None) -> Tensor:
    """Return a tensor for a gradient; without a phase of its own it is added up with atomics."""
    return gradient(like, covers=phase is not None and phase.covers, once=phase is not None and phase.once)


def _current(device: torch.device, site: CallSite) -> contextlib.AbstractContextManager[object]:
    """Make a GPU the current one, unless it is; the interpreter computes with numpy, which shall be as silent."""
    if device.type == "cuda":
        return _NOTHING if torch.cuda.current_device() == device.index else torch.cuda.device(device)
    return np.errstate(all="ignore") if site.interpreted else _NOTHING
