"""Models that attncc doesn't reach: those that call no registered attention are told so where they are made."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import wraps
from typing import Any

from attncc.errors import AttnccError

logger = logging.getLogger("attncc")
#: What a module has that asks for an implementation by its name: for attention, or for masks as that one takes them.
ASKING = ("_attn_implementation", "masking_utils")
#: How an implementation is called that is attncc's, and one with a pattern.
PLAIN, JOINED = "attncc", "attncc:"


def check_models_when_made() -> None:
    """Have each model that is made under attncc from now on checked; a second time does nothing.

    Transformers asks a registered implementation nothing before a model calls it, and a model with attention of its own
    never does. What each model asks as it is made is which implementation is the right one, and that is wrapped.
    """
    from transformers import PreTrainedModel

    own = PreTrainedModel.get_correct_attn_implementation
    if getattr(own, "checks_attncc", False):
        return

    @wraps(own)
    def checked(self: Any, requested_attention: str | None, *arguments: Any, **named: Any) -> Any:
        if requested_attention == PLAIN or (requested_attention or "").startswith(JOINED):
            _check(type(self), str(requested_attention))
        return own(self, requested_attention, *arguments, **named)

    checked.checks_attncc = True  # type: ignore[attr-defined]
    PreTrainedModel.get_correct_attn_implementation = checked


def _check(model: type[Any], name: str) -> None:
    """Raise AttnccError, or warn, where a class of models calls no registered attention.

    As it is, such a model runs right under "attncc", by its own attention. It doesn't with a pattern, nor where it
    looks its attention up by the name of the implementation, nor on masks that were made for attncc: some models take
    True for a pair that is hidden.
    """
    if model._can_set_attn_implementation():
        return
    error = AttnccError(
        f"{model.__name__} under attn_implementation={name!r}: it has attention of its own.",
        rule="attncc runs attention that a model calls through Transformers' AttentionInterface; this one calls none.",
        fix='Load this model with attn_implementation="eager"; if parts of it call the interface, name those, as in '
        f'attn_implementation={{"text_config": {name!r}}}.',
    )
    source = inspect.getsource(sys.modules[model.__module__])
    if name.startswith(JOINED) or any(asked in source for asked in ASKING):
        raise error
    logger.warning("%s", error)
