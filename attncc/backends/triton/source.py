"""Generated source: one Triton module for each Spec, readable, with its origin in the header."""

from __future__ import annotations

import math
from functools import cache

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from attncc.backends.triton.spec import Spec
from attncc.storage import cache_folder, warn_unwritable

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
        bytecode_cache=_bytecode(),
    )
    environment.globals.update(log_2_e=math.log2(math.e), ln_2=math.log(2))
    environment.filters["block"] = lambda text: text.rstrip("\n") or _NOTHING
    return environment


class _Bytecode(FileSystemBytecodeCache):
    """Compiled templates, kept since compiling them takes longer than all the rest; where they can't be, nothing is."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template, unless the disk won't have it."""
        try:
            super().dump_bytecode(bucket)
        except OSError as error:
            warn_unwritable(cache_folder("templates"), error)


def _bytecode() -> FileSystemBytecodeCache | None:
    folder = cache_folder("templates")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warn_unwritable(folder, error)
        return None
    return _Bytecode(str(folder))
