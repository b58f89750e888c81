"""Names of attention implementations: "attncc" for a model's own masks, "attncc:NAME" for those and a pattern."""

from __future__ import annotations

import re
from functools import partial
from inspect import signature
from typing import Any

from attncc.errors import AttnccError, ParameterError
from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.catalog import declared, made, parse_parameters
from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import Pattern
from attncc.integrations.transformers.support import JOINED, PLAIN, check_models_when_made

_CALL = re.compile(r"(?P<name>[^()]+?)\s*(\((?P<arguments>.*)\))?", re.DOTALL)


def register(name: str | None = None, pattern: AnyPattern | None = None) -> str:
    """Make attncc an attention implementation of Transformers, and return its name for `attn_implementation`.

    `register()` is "attncc": it runs whatever mask the model asks for. `register(name)` and `register(name, pattern)`
    are "attncc:name": a query sees the keys that both the model's mask and the pattern connect it to. Padding stays
    hidden, packed documents stay apart, and a causal model stays causal. Registering a name again replaces it.

    A model that calls no registered attention raises AttnccError where it is made with a pattern; without one it runs
    its own attention, and the logger "attncc" warns.

    Args:
        name: What the implementation is called after "attncc:". Without `pattern` it is one in text, as in
            "sliding_window(window=64)": a name that `attncc.load` takes, and parameters as the command line takes them.
        pattern: The pattern, in positions of the model's sequences: those of the row of the batch, padding included.

    Returns:
        "attncc", or "attncc:" and the name.

    Raises:
        AttnccError: Transformers 5.4 or later isn't installed.
        PatternError: No such pattern, or not a pattern.
        ParameterError: A parameter is missing, unknown or wrong, or the name of a pattern is missing.
    """
    if name is None and pattern is not None:
        raise ParameterError(
            f"register(pattern={pattern!r:.80}) has no name.",
            rule='A pattern is asked for by its name: attn_implementation="attncc:NAME".',
            fix='Write register("mine", pattern).',
        )
    chosen = None if name is None else _in_text(name) if pattern is None else accepted_pattern(pattern)
    attentions, masks = interfaces()
    from attncc.integrations.transformers.attention import attend
    from attncc.integrations.transformers.masks import pattern_mask

    full_name = PLAIN if name is None else f"{JOINED}{name}"
    attentions.register(full_name, partial(attend, joined=chosen))
    masks.register(full_name, partial(pattern_mask, joined=chosen))
    check_models_when_made()
    return full_name


def interfaces() -> tuple[Any, Any]:
    """Return Transformers' AttentionInterface and AttentionMaskInterface; raises AttnccError where it isn't there."""
    rule = "The integration is for Transformers 5.4 and later, whose models ask for masks by q_length and q_offset."
    try:
        from transformers import AttentionInterface, AttentionMaskInterface, __version__
        from transformers.masking_utils import sdpa_mask
    except ImportError as error:
        fix = 'Install it: pip install "transformers>=5.4".'
        raise AttnccError(f"Transformers can't be imported: {error}.", rule=rule, fix=fix) from error
    if "q_length" not in signature(sdpa_mask).parameters:
        fix = 'Upgrade it: pip install --upgrade "transformers>=5.4".'
        raise AttnccError(f"Transformers {__version__} is installed.", rule=rule, fix=fix)
    return AttentionInterface, AttentionMaskInterface


def _in_text(text: str) -> Pattern:
    """Return the pattern of a text such as "sliding_window(window=64)"."""
    call = _CALL.fullmatch(text)
    if call is None:
        raise ParameterError(
            f"The pattern {text!r:.80}.",
            rule="In text, a pattern is a name, with parameters in parentheses.",
            fix='As in "sliding_window(window=64)".',
        )
    found = declared(call["name"])
    texts = re.split(r",\s*(?=\w+\s*=)", call["arguments"]) if call["arguments"] else []
    parameters = parse_parameters(found, texts) if isinstance(found, PatternFactory) else dict.fromkeys(texts)
    return made(found, call["name"], parameters)
