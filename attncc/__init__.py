"""attncc: declare which keys a query may see, get a plan, and run it.

Names are imported when they are first used, so that importing the package costs nothing; torch's registry gets attncc's
operators once torch is imported, before or after.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attncc.runtime.torch_import import register_operators
from attncc.version import __version__

if TYPE_CHECKING:
    from attncc import distributed as distributed
    from attncc import targets as targets
    from attncc.backends.reference.mask import dense_mask as dense_mask
    from attncc.errors import AttnccError as AttnccError
    from attncc.errors import BackendError as BackendError
    from attncc.errors import ConfigError as ConfigError
    from attncc.errors import DistributedError as DistributedError
    from attncc.errors import ExportError as ExportError
    from attncc.errors import ParameterError as ParameterError
    from attncc.errors import PatternError as PatternError
    from attncc.errors import PlanError as PlanError
    from attncc.errors import PluginError as PluginError
    from attncc.errors import ScoreError as ScoreError
    from attncc.errors import ShapeError as ShapeError
    from attncc.errors import TableError as TableError
    from attncc.errors import TopologyError as TopologyError
    from attncc.frontend.biases import alibi as alibi
    from attncc.frontend.biases import alibi_slopes as alibi_slopes
    from attncc.frontend.biases import softcap as softcap
    from attncc.frontend.biases import t5_bias as t5_bias
    from attncc.frontend.biases import t5_buckets as t5_buckets
    from attncc.frontend.catalog import factory as factory
    from attncc.frontend.catalog import load as load
    from attncc.frontend.declarations import Bounds as Bounds
    from attncc.frontend.language import Index as Index
    from attncc.frontend.language import Table as Table
    from attncc.frontend.language import maximum as maximum
    from attncc.frontend.language import minimum as minimum
    from attncc.frontend.language import where as where
    from attncc.frontend.patterns import Pattern as Pattern
    from attncc.frontend.patterns import PatternFactory as PatternFactory
    from attncc.frontend.patterns import pattern as pattern
    from attncc.frontend.patterns import per_head as per_head
    from attncc.frontend.real import Real as Real
    from attncc.frontend.real import cos as cos
    from attncc.frontend.real import erf as erf
    from attncc.frontend.real import exp as exp
    from attncc.frontend.real import log as log
    from attncc.frontend.real import sin as sin
    from attncc.frontend.real import sqrt as sqrt
    from attncc.frontend.real import tanh as tanh
    from attncc.frontend.scores import Score as Score
    from attncc.frontend.scores import ScoreFactory as ScoreFactory
    from attncc.frontend.scores import score as score
    from attncc.frontend.weights import Weights as Weights
    from attncc.ir.condition import Condition as Condition
    from attncc.planner.plan import Plan as Plan
    from attncc.planner.search import plan as plan
    from attncc.proof import verify as verify
    from attncc.runtime.api import attention as attention
    from attncc.runtime.api import compile as compile
    from attncc.runtime.explain import explain_config as explain_config
    from attncc.tune.autotune import autotune as autotune

#: Module -> the public names that it provides.
_EXPORTS = {
    "attncc.backends.reference.mask": ["dense_mask"],
    "attncc.frontend.biases": ["alibi", "alibi_slopes", "softcap", "t5_bias", "t5_buckets"],
    "attncc.frontend.catalog": ["factory", "load"],
    "attncc.frontend.declarations": ["Bounds"],
    "attncc.errors": [
        "AttnccError",
        "BackendError",
        "ConfigError",
        "DistributedError",
        "ExportError",
        "ParameterError",
        "PatternError",
        "PlanError",
        "PluginError",
        "ScoreError",
        "ShapeError",
        "TableError",
        "TopologyError",
    ],
    "attncc.runtime.explain": ["explain_config"],
    "attncc.runtime.api": ["attention", "compile"],
    "attncc.ir.condition": ["Condition"],
    "attncc.frontend.language": ["Index", "Table", "maximum", "minimum", "where"],
    "attncc.frontend.real": ["Real", "cos", "erf", "exp", "log", "sin", "sqrt", "tanh"],
    "attncc.frontend.weights": ["Weights"],
    "attncc.frontend.patterns": ["Pattern", "PatternFactory", "pattern", "per_head"],
    "attncc.planner.plan": ["Plan"],
    "attncc.planner.search": ["plan"],
    "attncc.proof": ["verify"],
    "attncc.frontend.scores": ["Score", "ScoreFactory", "score"],
    "attncc.tune.autotune": ["autotune"],
}
#: Modules that are public as such.
_MODULES = ("distributed", "targets")
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *sorted([*_HOME, *_MODULES])]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"attncc.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'attncc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


register_operators()
