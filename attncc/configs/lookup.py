"""Look-up: from a key to a configuration."""

from __future__ import annotations

import logging
from dataclasses import replace

from attncc import backends
from attncc.backends.inputs import Inputs
from attncc.configs.density import rough_density
from attncc.configs.entry import Entry
from attncc.configs.environment import Environment
from attncc.configs.key import Key, half_octaves
from attncc.configs.layers import Layer, layers
from attncc.configs.misses import why_miss
from attncc.configs.result import LookupResult
from attncc.configs.setting import ASSERT, NEAREST, OFF, SETTING, setting
from attncc.configs.state import settled_state, state
from attncc.configs.store import user_store
from attncc.errors import ConfigError
from attncc.frontend.patterns import Pattern
from attncc.planner.shape import Shape

LOG = logging.getLogger("attncc")
#: Octaves up to which another key's configuration is better than the default.
REACH = 2.0
#: Look-ups that are remembered; then all are forgotten at once.
MOST = 1024
#: By what decides a key, tables by their rough density alone.
_known: dict[tuple[object, ...], LookupResult] = {}
#: (digest of a key, source, layer) that the log has named.
_logged: set[tuple[str, str, str]] = set()


def looked_up(
    pattern: Pattern, score: str, shape: Shape, inputs: Inputs, direction: str, backend: str, target: str
) -> LookupResult:
    """Return the configuration of a call (see `find`) with the state that it depends on; the log names it once.

    What was found holds for all lengths in a half octave, and for all tables of about one density. Environment
    variables of a compiler (TRITON_...) are no part of that state. Raises ConfigError.
    """
    alike = pattern.template.fingerprint, bucket(pattern, shape), score, inputs, direction, backend, target
    known = _known.get(alike)
    if known is not None and known.is_current:
        return known
    if len(_known) >= MOST:
        _known.clear()
    if not backends.is_tuned(backend) or setting() == OFF:
        found = LookupResult(state=state(""))
    else:
        found = _newly_found(pattern, score, shape, inputs, direction, backend, target)
    _known[alike] = found
    return found


def bucket(pattern: Pattern, shape: Shape) -> tuple[int, int, int | None]:
    """Return the lengths in half octaves, and about the density: all that a look-up asks of lengths and tables."""
    return half_octaves(shape.q_len), half_octaves(shape.kv_len), rough_density(pattern, shape)


def _newly_found(
    pattern: Pattern, score: str, shape: Shape, inputs: Inputs, direction: str, backend: str, target: str
) -> LookupResult:
    key = Key.of(pattern, score, shape, inputs, direction, backend, target)
    environment = Environment.of(backend, target)
    folder = str(user_store().winners(environment))
    before = settled_state(folder)  # what is written during the look-up is seen by the next one
    result = replace(find(key, environment), folder=folder, state=before)
    _log(key, result)
    return result


def find(key: Key, environment: Environment | None = None) -> LookupResult:
    """Return the configuration of a key, as ATTNCC_CACHE says; raises ConfigError where that asserts one in vain."""
    how = setting()
    if how == OFF:
        return LookupResult()
    here = environment or Environment.of(key.backend, key.target)
    result = best_known(key, here) if how == NEAREST else _exact(key, here, layers())
    if result is None and how == ASSERT:
        raise ConfigError(
            f"There is no tuned configuration for {key.direction} {key.digest} on {key.target}.",
            rule=f"{SETTING}={ASSERT} forbids every other one. {_reasons(key, here)}",
            fix=f"Tune it, or import one (attncc cache import), or set {SETTING}={NEAREST}.",
        )
    return result or LookupResult()


def best_known(key: Key, environment: Environment) -> LookupResult | None:
    """Return the best configuration of all layers for a key, or near it; ATTNCC_CACHE isn't asked."""
    places = layers()
    return _exact(key, environment, places) or _nearest(key, environment, places)


def _exact(key: Key, environment: Environment, places: tuple[Layer, ...]) -> LookupResult | None:
    for layer in places:
        entry = layer.exact(environment, key)
        if entry is not None:
            source = "shipped" if layer.kind == "shipped" else "exact"
            return LookupResult(
                entry.config, source, entry, 0.0, layer.name, environment.differences(entry.environment)
            )
    return None


def _nearest(key: Key, environment: Environment, places: tuple[Layer, ...]) -> LookupResult | None:
    """Return the least distant entry within REACH; of several a measured one, of this environment, the first."""
    best: tuple[tuple[float, bool, bool], Entry, Layer] | None = None
    for layer in places:
        for entry in layer.entries(environment):
            distance = key.distance(entry.key)
            if distance is None or distance > REACH:
                continue
            rank = (distance, entry.mode != "measured", entry.environment != environment)
            if best is None or rank < best[0]:
                best = rank, entry, layer
    if best is None:
        return None
    (distance, *_), entry, layer = best
    return LookupResult(
        entry.config, "nearest", entry, distance, layer.name, environment.differences(entry.environment)
    )


def _reasons(key: Key, environment: Environment) -> str:
    misses = why_miss(key, environment, most=1)
    return f"The nearest, {misses[0]}." if misses else "No layer has any."


def _log(key: Key, result: LookupResult) -> None:
    """Say once for each key and source which configuration runs."""
    once = (key.digest, result.source, result.layer)
    if once not in _logged:
        _logged.add(once)
        LOG.debug("%s %s on %s: %s %s", key.direction, key.digest, key.backend, result, dict(result.config))
