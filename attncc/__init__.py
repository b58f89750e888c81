"""attncc: declare which keys a query may see, get a plan, and run it.

Names are imported when they are first used, so that importing the package costs nothing; torch's registry gets attncc's
operators once torch is imported, before or after.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attncc.torch_import import register_operators
from attncc.version import __version__

if TYPE_CHECKING:
    from attncc import distributed as distributed
    from attncc import targets as targets
    from attncc.backends.reference import dense_mask as dense_mask
    from attncc.biases import alibi as alibi
    from attncc.biases import alibi_slopes as alibi_slopes
    from attncc.biases import softcap as softcap
    from attncc.biases import t5_bias as t5_bias
    from attncc.biases import t5_buckets as t5_buckets
    from attncc.catalog import factory as factory
    from attncc.catalog import load as load
    from attncc.declarations import Bounds as Bounds
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
    from attncc.explain import explain_config as explain_config
    from attncc.functional import attention as attention
    from attncc.functional import compile as compile
    from attncc.ir.condition import Condition as Condition
    from attncc.ir.language import Index as Index
    from attncc.ir.language import Table as Table
    from attncc.ir.language import maximum as maximum
    from attncc.ir.language import minimum as minimum
    from attncc.ir.language import where as where
    from attncc.ir.real import Real as Real
    from attncc.ir.real import cos as cos
    from attncc.ir.real import erf as erf
    from attncc.ir.real import exp as exp
    from attncc.ir.real import log as log
    from attncc.ir.real import sin as sin
    from attncc.ir.real import sqrt as sqrt
    from attncc.ir.real import tanh as tanh
    from attncc.ir.weights import Weights as Weights
    from attncc.patterns import Pattern as Pattern
    from attncc.patterns import PatternFactory as PatternFactory
    from attncc.patterns import pattern as pattern
    from attncc.patterns import per_head as per_head
    from attncc.planner.plan import Plan as Plan
    from attncc.planner.search import plan as plan
    from attncc.proof import verify as verify
    from attncc.scores import Score as Score
    from attncc.scores import ScoreFactory as ScoreFactory
    from attncc.scores import score as score
    from attncc.tune.autotune import autotune as autotune

#: Module -> the public names that it provides.
_EXPORTS = {
    "attncc.backends.reference": ["dense_mask"],
    "attncc.biases": ["alibi", "alibi_slopes", "softcap", "t5_bias", "t5_buckets"],
    "attncc.catalog": ["factory", "load"],
    "attncc.declarations": ["Bounds"],
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
    "attncc.explain": ["explain_config"],
    "attncc.functional": ["attention", "compile"],
    "attncc.ir.condition": ["Condition"],
    "attncc.ir.language": ["Index", "Table", "maximum", "minimum", "where"],
    "attncc.ir.real": ["Real", "cos", "erf", "exp", "log", "sin", "sqrt", "tanh"],
    "attncc.ir.weights": ["Weights"],
    "attncc.patterns": ["Pattern", "PatternFactory", "pattern", "per_head"],
    "attncc.planner.plan": ["Plan"],
    "attncc.planner.search": ["plan"],
    "attncc.proof": ["verify"],
    "attncc.scores": ["Score", "ScoreFactory", "score"],
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
