"""What a backend is: it lowers a plan and a score to an executable, or says why it can't."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from attncc.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from attncc.backends.choices import Value
    from attncc.backends.inputs import Inputs
    from attncc.backends.logsum import LogSum
    from attncc.ir.score import ScoreExpression
    from attncc.ir.tables import TableSymbol
    from attncc.machine_code.compiled import Compiled
    from attncc.machine_code.source import Source
    from attncc.planner.plan import Plan
    from attncc.planner.preparation import PreparedPattern
    from attncc.targets import Target

#: Stands in `Backend.device_types` for every type of device.
ANY_DEVICE = "*"


class Gradients(NamedTuple):
    """Gradients of the inputs, each in the shape and dtype of its input.

    Attributes:
        query: (B, Hq, Nq, D).
        key: (B, Hkv, Nk, D).
        value: (B, Hkv, Nk, Dv).
        weights: Those of the score's weights, by slot; empty where nobody asked for them.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Sequence[Tensor] = ()


@dataclass(frozen=True, eq=False)
class Saved:
    """What a backward needs of its forward.

    Attributes:
        query, key, value, weights: What the forward took, in the shapes of `Executable`.
        out, lse: What the forward returned.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Sequence[Tensor]
    out: Tensor
    lse: LogSum


class Executable(Protocol):
    """A lowered plan: attention for tensors of the plan's shape.

    The score takes the place of scale * <q, k>. A pair whose score is -inf counts as not connected, and one with any
    finite score counts as connected. A query without connected keys has out 0, lse -inf and zero gradients.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Compute attention.

        Args:
            query: (B, Hq, Nq, D).
            key: (B, Hkv, Nk, D); query head h uses key head h // (Hq / Hkv).
            value: (B, Hkv, Nk, Dv).
            weights: The score's weights, by slot, of any floating dtype.
            scale: The factor of the products <q, k>; it may be 0 or negative.

        Returns:
            out, (B, Hq, Nq, Dv) in the query's dtype, and lse, the natural-log sum of exponentials, (B, Hq, Nq) in
            float32 (float64 for float64 inputs). Under a score lse has the remainder of its rounding.
        """
        ...

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Compute the gradients of what a forward took.

        Args:
            saved: The inputs and results of the forward.
            grad_out: The gradient of out, (B, Hq, Nq, Dv).
            grad_lse: The gradient of lse, (B, Hq, Nq), or None for zeros.
            scale: The forward's scale.
            with_weights: Whether the gradients of the score's weights are wanted.
        """
        ...


@runtime_checkable
class FindsMaxScores(Protocol):
    """An executable that finds the greatest score of each row, too. Of others, the backend of any device does it."""

    def max_scores(self, query: Tensor, key: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """Return the greatest score of each row, (B, Hq, Nq) in lse's dtype; -inf for rows without connected keys.

        Args:
            query: (B, Hq, Nq, D).
            key: (B, Hkv, Nk, D).
            weights: The score's weights, by slot, of any floating dtype.
            scale: The factor of the products <q, k>.
        """
        ...


class Prepared(Protocol):
    """A prepared pattern, lowered but for its tables."""

    def bind(self, tables: Mapping[TableSymbol, Tensor]) -> Executable:
        """Return the executable for tables, by the symbols of the pattern's slots.

        They lie on the device of the tensors that attention is computed of. What is made of them is made there, at once
        or when the executable runs, and nothing waits for the host.
        """
        ...


class LoweredKernels(Protocol):
    """A plan lowered to kernels for a target that need not be in this machine, as tuning models it."""

    def sources(self, direction: str) -> Sequence[Source]:
        """Return what the kernels of a direction (`forward`, `backward`) are compiled from, each once."""
        ...

    def modelled(self, direction: str, compiled: Mapping[Source, Compiled]) -> ModelledKernels:
        """Return how a direction runs by its machine code; `compiled` holds every one of `sources`."""
        ...


class ModelledKernels(Protocol):
    """How the kernels of a direction run on a target, as their machine code tells.

    Attributes:
        seconds: The predicted time, in seconds.
        kernels: A dataclass for each launch, for people to read.
        excess: Why the kernels can't run, or run badly; empty where nothing speaks against them.
    """

    @property
    def seconds(self) -> float: ...
    @property
    def kernels(self) -> Sequence[Any]: ...
    @property
    def excess(self) -> str: ...


class Backend(ABC):
    """Lowers plans. Subclass it, and name an instance in the entry-point group `attncc.backends`.

    The module of a backend is imported before anything runs, so it imports torch and its compiler in its methods.

    Attributes:
        name: The name that users pass as `backend=`; that of the entry point.
        tile: (block_m, block_n), the queries and keys of the tiles that plans are made of.
        device_types: The types of torch devices for which the backend runs where no backend is named, such as `cuda`;
            ANY_DEVICE for those that no other backend prefers. Without any, it runs only where it is named.
        packages: The distributions that it runs on; tuned configurations depend on their versions.
        composite: Whether `forward` is made of torch's own operations. Autograd and `torch.func` then go through it
            for derivatives of every order, and `backward` serves partial results only.
        compiles: Whether `lower_kernels` lowers plans for targets that aren't in this machine.
        keeps_apart: Whether what a group of a plan gives depends, bit for bit, on the group alone; a batch-invariant
            call is then one plan, with groups for each entry. Groups may be for fewer keys than the tensors have.
        expected_error: The relative error to expect of `ModelledKernels.seconds`; None where it doesn't compile.
        choices: What `config` leaves open, by name, with the direction that each choice binds (None: both). A backend
            with choices is tuned.
    """

    name: str
    tile: tuple[int, int] = (64, 64)
    device_types: tuple[str, ...] = ()
    packages: tuple[str, ...] = ("torch",)
    composite: bool = False
    compiles: bool = False
    keeps_apart: bool = False

    @property
    def expected_error(self) -> float | None:
        """None, unless overridden."""
        return None

    @property
    def choices(self) -> Mapping[str, str | None]:
        """Nothing, unless overridden."""
        return MappingProxyType({})

    def unavailable(self) -> str | None:
        """Return why the backend can't run on this machine, or None."""
        return None

    def refuses(self, query: Tensor, value: Tensor) -> str | None:
        """Return why the backend can't take tensors of such a dtype, device and head sizes, or None.

        Args:
            query: (B, Hq, Nq, D).
            value: (B, Hkv, Nk, Dv), of the query's dtype and device.
        """
        return None

    @abstractmethod
    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> Executable:
        """Lower a plan.

        Args:
            plan: The pairs to compute, in tiles of `tile` or as tuned.
            score: What takes the place of the scaled scores; attncc.ir.score.IDENTITY where there is none.
            config: Values for some of the choices.

        Returns:
            What runs the plan on tensors of its shape, in both directions.

        Raises:
            ConfigError: `config` has an unknown key or a bad value.
        """

    def prepare(
        self, pattern: PreparedPattern, score: ScoreExpression, config: Mapping[str, object]
    ) -> Prepared | None:
        """Lower a pattern whose tables lie on a device and aren't known to the host.

        Args:
            pattern: The passes, prepared for lengths and for tables of known shapes and dtypes.
            score: As `lower` gets it.
            config: As `lower` gets it.

        Returns:
            What binds tables; None, unless overridden: then tables are copied to the host and planned there.

        Raises:
            ConfigError: `config` has an unknown key or a bad value.
        """
        return None

    def default(self, inputs: Inputs, target: Target) -> Mapping[str, Value]:
        """Return the value of each choice without any config; raises ConfigError for inputs that it can't take."""
        return {}

    def check(self, config: Mapping[str, object]) -> None:
        """Raise ConfigError for an unknown key or a bad value."""
        if config:
            raise ConfigError(
                f"config={dict(config)!r}.",
                rule=f"The {self.name} backend has no configuration.",
                fix="Leave config out, or name another backend.",
            )

    def predict(
        self, plan: Plan, inputs: Inputs, direction: str, config: Mapping[str, object], target: Target
    ) -> float:
        """Predict the seconds that a direction takes on a target, without compiling or running; only ratios matter.

        Unless overridden, it is the time of dense attention: the products over all pairs, two forward, five backward.

        Args:
            plan: The plan, as `lower` gets it.
            inputs: The sizes of the tensors.
            direction: `forward` or `backward`.
            config: As `lower` gets it.
            target: The device.

        Raises:
            ConfigError: `config`, the inputs or the target don't suit the backend.
            BackendError: The inputs don't suit the backend.
        """
        self.check(config)
        keys, values = (1, 1) if direction == "forward" else (3, 2)
        pairs = inputs.batch * inputs.heads * plan.shape.q_len * plan.shape.kv_len
        return 2.0 * pairs * (keys * inputs.head_dim + values * inputs.value_dim) / target.flops

    def lower_kernels(
        self,
        plan: Plan,
        score: ScoreExpression | None,
        config: Mapping[str, object],
        inputs: Inputs,
        target: Target,
        with_weights: bool,
    ) -> LoweredKernels:
        """Lower a plan for a GPU that need not be in this machine. Only a backend that `compiles` implements it.

        Args:
            plan, config: As `lower` gets them.
            score: The score, None where there is none.
            inputs: The sizes of the tensors.
            target: The GPU.
            with_weights: Whether a backward computes the gradients of the score's weights.

        Raises:
            BackendError: The inputs don't suit the backend.
            ConfigError: `config` has an unknown key or a bad value.
        """
        raise BackendError(
            f"Backend {self.name!r} has no kernels that can be compiled for {target.name}.",
            rule="A backend that `compiles` lowers its kernels for GPUs that aren't here.",
            fix="Tune it where it runs, or leave --backend out.",
        )
