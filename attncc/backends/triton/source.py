"""Generated source: one Triton module for each Spec, readable, with its origin in the header."""

from __future__ import annotations

import math
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from attncc.backends.triton.spec import Spec

#: Stands where a block of lines came out empty, until its line is dropped.
_NOTHING = "\0"


@cache
def render(spec: Spec) -> str:
    """Return the source of a module with one kernel, named `spec.kernel`."""
    body = _environment().get_template(f"{spec.kernel}.jinja").render(spec=spec)
    page = _environment().get_template("module.jinja").render(spec=spec, purpose=spec.outline.purpose, body=body)
    return page.replace(f"{_NOTHING}\n", "")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("attncc.backends.triton"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        optimized=False,  # there are no constants to fold, and looking for them takes a tenth of the time
    )
    environment.globals.update(log_2_e=math.log2(math.e), ln_2=math.log(2))
    environment.filters["block"] = lambda text: text.rstrip("\n") or _NOTHING
    return environment
