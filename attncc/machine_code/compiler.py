"""Compiling triton kernels for GPUs that need not be there, in processes of their own or in this one."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

from attncc._util.storage import CacheWarning
from attncc.errors import REPORT, BackendError
from attncc.machine_code import store, tools
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.options import options
from attncc.machine_code.source import Source, module
from attncc.targets import Gpu

_INTERPRET = "TRITON_INTERPRET"


def compile(source: Source, gpu: Gpu) -> Compiled:
    """Compile a kernel in this process, or take it from the cache of compiled kernels.

    Raises:
        BackendError: The compiler fails, ptxas is missing, or TRITON_INTERPRET=1 is set.
    """
    _require_triton()
    path = store.path_of(source, gpu)
    compiled = store.load(path)
    if compiled is None:
        _require_assembler(gpu)
        compiled = _compiled_now(source, gpu)
        store.save(path, compiled)
    return compiled


def _compiled_now(source: Source, gpu: Gpu) -> Compiled:
    if os.environ.get(_INTERPRET, "0") not in ("", "0"):
        raise BackendError(
            f"{_INTERPRET}={os.environ[_INTERPRET]} is set.",
            rule="Triton compiles nothing while it interprets.",
            fix="Unset it to compile.",
        )
    from triton import compile as triton_compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler.errors import CompilationError

    function = getattr(_module(source.text, source.path), source.name)
    types, constants = dict(source.types), dict(source.constants)
    signature = {name: types.get(name, "constexpr") for name in function.arg_names}
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(function.arg_names)
        if name in source.aligned and name in types
    }
    chosen = {"num_warps": source.num_warps, "num_stages": source.num_stages, **options(gpu.backend)}
    target = GPUTarget(gpu.backend, gpu.triton_arch, gpu.warp_size)
    try:
        kernel = triton_compile(ASTSource(function, signature, constants, aligned), target=target, options=chosen)
    except CompilationError as error:  # of the source, before there is anything whose size matters
        raise BackendError(
            f"triton could not compile {source.name} for {gpu.arch}: {error}",
            rule=f"The source is {source.path}; the compiler stopped before it came to registers or memory.",
            fix=f"If the message is about a size, try smaller blocks; otherwise use backend 'torch'. {REPORT}",
        ) from error
    except Exception as error:  # the compiler's passes raise whatever they please
        raise BackendError(
            f"triton could not compile {source.name} for {gpu.arch}: {error}",
            rule=f"The source is {source.path}.",
            fix="Try other blocks, warps or stages.",
        ) from error
    return Compiled.of(kernel)


def compile_all(
    sources: Iterable[Source], gpu: Gpu, *, workers: int, on_done: Callable[[Source], None] = lambda source: None
) -> list[Compiled]:
    """Compile kernels side by side in processes of their own, so that a crash of the compiler is a BackendError, too.

    `on_done` gets each source when it is compiled; the results are in the sources' order. Raises as `compile` does.
    """
    _require_triton()
    listed = list(sources)
    context = get_context("spawn")
    with ProcessPoolExecutor(max(1, min(workers, len(listed))), context, initializer=_worker) as pool:
        futures = {pool.submit(_compiled_there, source, gpu): at for at, source in enumerate(listed)}
        compiled: dict[int, Compiled] = {}
        try:
            for future in as_completed(futures):
                at = futures[future]
                result = future.result()
                if isinstance(result, tuple):
                    problem, rule, fix = result
                    raise BackendError(problem, rule=rule, fix=fix)
                compiled[at] = result
                on_done(listed[at])
        except BrokenProcessPool as error:
            names = ", ".join(sorted({source.name for source in listed}))
            raise BackendError(
                f"The compiler crashed on one of {names} for {gpu.arch}.",
                rule="Triton's compiler aborts where it meets a configuration that it has no code for.",
                fix="Try other blocks, warps or stages.",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [compiled[at] for at in range(len(listed))]


def _worker() -> None:
    """Let this process compile, also where its parent interprets kernels; the parent warns of caches."""
    warnings.simplefilter("ignore", CacheWarning)
    os.environ.pop(_INTERPRET, None)


def _compiled_there(source: Source, gpu: Gpu) -> Compiled | tuple[str, str, str]:
    """Compile; return an error as its three texts, which exceptions lose between processes."""
    try:
        return compile(source, gpu)
    except BackendError as error:
        return error.problem, error.rule, error.fix


@cache
def _module(text: str, path: Path) -> ModuleType:
    return module(text, path, "attncc_compiled")


def _require_triton() -> None:
    if importlib.util.find_spec("triton") is None:
        raise BackendError("triton is not installed.", rule="It compiles the kernels.", fix="pip install triton")


def _require_assembler(gpu: Gpu) -> None:
    """Raise BackendError if triton won't find ptxas; an environment variable may name another one."""
    if gpu.backend == "cuda":
        blackwell = int(gpu.triton_arch) >= 100
        variable = "TRITON_PTXAS_BLACKWELL_PATH" if blackwell else "TRITON_PTXAS_PATH"
        if variable not in os.environ:
            tools.path("ptxas-blackwell" if blackwell else "ptxas")
