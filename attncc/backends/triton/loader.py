"""Runs the attention kernels beside this file on a GPU. It needs PyTorch and the GPU's driver, nothing else:

    from loader import AttentionKernels
    attention = AttentionKernels()                         # reads manifest.json, where this file lies
    out, lse = attention.forward(query, key, value)        # (B, Hq, N, D), (B, Hkv, Nk, D), (B, Hkv, Nk, Dv)
    d_query, d_key, d_value = attention.backward(grad_out, query, key, value, out, lse)

Where manifest.json names a score, lse comes with the remainder of its rounding, such as log(N) for N large scores:

    out, lse, remainder = attention.forward(query, key, value, weights={"slopes": slopes})
    gradients = attention.backward(grad_out, query, key, value, out, lse, remainder=remainder, weights=...)

and where it lists weights of the score, both take them by name, float32; their gradients need attncc.

Sizes and dtype are those in manifest.json. lse is (B, Hq, N), natural logarithm, float32; a query that
sees no key has out 0 and lse -inf.

A file that is damaged, missing or outside of this folder raises a PackageError before any of it is used. The hashes
show damage, not malice: whoever can write to this folder can change the manifest, too.
"""

import ctypes
import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SCALARS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "fp32": ctypes.c_float}
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "i32": torch.int32, "i64": torch.int64}
#: Unless they were compiled for more, kernels compute offsets of rows in 32 bits, below this.
_NARROW = 1 << 30
#: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, and HIP's of the same meaning.
_DYNAMIC_SHARED = 8
#: Bytes of a manifest that are read.
_LARGEST_MANIFEST = 1 << 26


class PackageError(ValueError):
    """A file is missing, damaged, or not a file of the package."""


class Files:
    """The files of a package; one that differs from its manifest is not read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = _manifest(_content(folder / "manifest.json", _LARGEST_MANIFEST))

    def read(self, name: str) -> bytes:
        """Return the content of a file by its name; raises PackageError."""
        listed = self.manifest["files"].get(name)
        if listed is None or Path(name).name != name:
            raise PackageError(f"{name!r} isn't a file of the package {self._folder}.")
        content = _content(self._folder / name, listed["bytes"])
        if hashlib.sha256(content).hexdigest() != listed["sha256"]:
            raise PackageError(f"{self._folder / name} is damaged: its SHA-256 isn't the manifest's. Compile it again.")
        return content


def _content(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file, at most `limit`; a link might lead out of the package."""
    if path.is_symlink():
        raise PackageError(f"{path} is a link. Copy the package's own files here.")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PackageError(f"{path} isn't a regular file.")
            content = file.read(limit + 1)
    except OSError as error:
        raise PackageError(f"{path} can't be read: {error.strerror}.") from error
    if len(content) > limit:
        raise PackageError(f"{path} is damaged: it has more than {limit:,} bytes. Compile it again.")
    return content


def _manifest(content: bytes) -> dict[str, Any]:
    """Return the content of a manifest; raises PackageError unless its checksum fits."""
    try:
        manifest: dict[str, Any] = json.loads(content)
        intact = manifest.pop("checksum") == checksum(manifest)
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise PackageError("manifest.json is damaged: its checksum doesn't fit. Compile the package again.")
    return manifest


def checksum(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content without its checksum, in one canonical form."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Driver:
    """The driver's functions for modules: libcuda's, or those of HIP, which take the same arguments."""

    def __init__(self, backend: str) -> None:
        self._limited = cuda = backend == "cuda"  # on AMD shared memory needs no permission
        self._library = ctypes.CDLL("libcuda.so.1" if cuda else "libamdhip64.so")
        names = ("cuModuleLoadData", "cuModuleGetFunction", "cuFuncSetAttribute", "cuLaunchKernel")
        hip = ("hipModuleLoadData", "hipModuleGetFunction", "hipFuncSetAttribute", "hipModuleLaunchKernel")
        self._load, self._get, self._set, self._launch = (getattr(self._library, n) for n in (names if cuda else hip))

    def function(self, binary: bytes, entry: str, shared: int) -> Any:
        """Load a binary into the current context; return its function, allowed `shared` bytes of shared memory."""
        torch.cuda.current_stream()  # PyTorch makes the context
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._check(self._load(ctypes.byref(module), binary), entry)
        self._check(self._get(ctypes.byref(function), module, entry.encode()), entry)
        if self._limited and shared > 48 * 1024:
            self._check(self._set(function, _DYNAMIC_SHARED, shared), entry)
        return function

    def launch(self, function: Any, programs: int, threads: int, shared: int, arguments: list[Any]) -> None:
        """Launch a function on PyTorch's current stream."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        sizes = (programs, 1, 1, threads, 1, 1, shared)
        self._check(self._launch(function, *sizes, stream, pointers, None), f"launch of {programs} programs")

    def _check(self, status: int, what: str) -> None:
        if status:
            raise RuntimeError(f"{what}: the driver's error {status}")


class LoadedKernel:
    """One kernel: a binary, and how its arguments are passed."""

    def __init__(self, binary: bytes, described: dict[str, Any], driver: Any) -> None:
        self._described, self._driver = described, driver
        self._function = driver.function(binary, described["entry"], described["shared"])

    def launch(self, programs: int, values: dict[str, Any]) -> None:
        """Launch a grid of `programs` with arguments by name: tensors and numbers."""
        described = self._described
        device = next(value.device for value in values.values() if isinstance(value, Tensor))
        # Where the compiler wants memory of its own, it is the next to last argument; the last is for profilers.
        scratch = torch.empty(described["scratch_bytes"] * programs, dtype=torch.uint8, device=device)
        arguments = [
            ctypes.c_void_p(values[name].data_ptr()) if kind.startswith("*") else _SCALARS[kind](values[name])
            for name, kind in described["arguments"]
        ]
        extra = [scratch.data_ptr() if scratch.numel() else 0, 0][: described["scratch_arguments"]]
        arguments += [ctypes.c_void_p(address) for address in extra]
        self._driver.launch(self._function, programs, described["threads"], described["shared"], arguments)


class AttentionKernels:
    """The kernels of one pattern at the sizes of its manifest."""

    def __init__(self, folder: Path | None = None, device: str = "cuda", driver: Any = None) -> None:
        files = Files(folder or Path(__file__).parent)
        self.manifest = files.manifest
        binaries = {name: files.read(each["file"]) for name, each in self.manifest["kernels"].items()}
        self._arrays = _arrays(files.read("arrays.bin"), self.manifest["arrays"], device)
        driver = driver or Driver(self.manifest["target"]["backend"])
        self._kernels = {
            name: LoadedKernel(binaries[name], each, driver) for name, each in self.manifest["kernels"].items()
        }

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """Return (out, lse), under a score (out, lse, remainder); `scale` defaults to 1 / sqrt(D)."""
        self._require(query, key, value)
        named = self._named(weights or {})
        phase = self.manifest["forward"]
        results = forward_results(query, value, phase["writes"], covers=phase["covers"], once=phase["once"])
        self._run(phase, {"Q": query, "K": key, "V": value, **results, **named}, self._scale(query, scale))
        out, *rows = results.values()
        return (out.to(query.dtype), *rows)

    def backward(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        scale: float | None = None,
        weights: dict[str, Tensor] | None = None,
        remainder: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of query, key and value, given the gradient of `out` and the results of `forward`."""
        self._require(query, key, value)
        named, scale = self._named(weights or {}), self._scale(query, scale)
        grad, out, lse = grad.contiguous(), out.contiguous(), lse.contiguous()
        delta, scaled = torch.empty_like(lse), torch.empty_like(lse)
        rows = {"DO": grad, "O": out, "LSE": lse, "Delta": delta}
        rows |= {"LSE_log2": scaled, "LSE_natural": scaled}  # a kernel has one of the two: its unit is in the name
        self._run(self.manifest["delta"], rows, scale)
        tensors = {"Q": query, "K": key, "V": value, "DO": grad, "Delta": delta, "LSE": scaled, **named}
        if "Remainder" in self.manifest["forward"]["writes"]:
            if remainder is None:
                raise ValueError("remainder is missing; under a score the kernels want the one that forward returned.")
            tensors["Remainder"] = remainder.contiguous()
        gradients: dict[str, Tensor] = {}
        for phase in self.manifest["backward"]:
            for name in phase["writes"]:
                direct = name not in phase["atomic"]
                like = tensors[name.removeprefix("D")]
                gradients[name] = gradient(like, covers=phase["covers"] and direct, once=phase["once"] and direct)
            self._run(phase, tensors | gradients, scale)
        return gradients["DQ"].to(query.dtype), gradients["DK"].to(key.dtype), gradients["DV"].to(value.dtype)

    def _scale(self, query: Tensor, scale: float | None) -> float:
        """Return the scale that kernels take; raise ValueError unless it is above 0."""
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        if not scale > 0:
            raise ValueError(f"scale={scale}; the kernels want it above 0. Negate the query for a negative one.")
        return scale if self.manifest["score"] else scale * math.log2(math.e)

    def _run(self, phase: dict[str, Any], tensors: dict[str, Tensor], scale: float) -> None:
        """Launch a phase's kernels in order; split tiles go to a workspace until they are joined."""
        parts: dict[str, Tensor] = {}
        for launch in phase["launches"]:
            values: dict[str, Any] = dict(tensors)
            if launch["role"] == "split":
                parts = workspace(launch["writes"], launch["programs"] * launch["tile_rows"], tensors)
                values |= parts
            if launch["role"] == "join":
                values |= joined(launch["writes"], parts, tensors)
            for name, strides in launch["strides"].items():
                values |= zip(strides, values[name].stride(), strict=False)
            values |= {name: self._arrays[array] for name, array in launch["arrays"].items()}
            values |= launch["numbers"] | {"scale": scale}
            self._kernels[launch["kernel"]].launch(launch["programs"], values)

    def _named(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a score's weights by argument; raise ValueError unless they are those of the manifest."""
        wanted = {each["name"]: each for each in self.manifest["weights"]}
        if weights.keys() != wanted.keys():
            raise ValueError(f"weights are {sorted(weights)}; the kernels want {sorted(wanted)}.")
        for name, each in wanted.items():
            tensor, shape, dtype = weights[name], tuple(each["shape"]), _DTYPES[each["dtype"]]
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}; the kernels want {shape} {dtype}.")
        return {each["argument"]: weights[name].contiguous() for name, each in wanted.items()}

    def _require(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Raise ValueError unless the tensors are what the kernels were compiled for."""
        want = self.manifest["sizes"]
        batch, heads, kv_heads = want["batch"], want["heads"], want["kv_heads"]
        shapes = {
            "query": (query, (batch, heads, want["q_len"], want["head_dim"])),
            "key": (key, (batch, kv_heads, want["kv_len"], want["head_dim"])),
            "value": (value, (batch, kv_heads, want["kv_len"], want["value_dim"])),
        }
        for name, (tensor, shape) in shapes.items():
            if tuple(tensor.shape) != shape or tensor.dtype != _DTYPES[want["dtype"]] or tensor.stride(-1) != 1:
                here = f"{tuple(tensor.shape)} {tensor.dtype}, strides {tensor.stride()}"
                raise ValueError(f"{name} is {here}; the kernels want {shape} {want['dtype']} with contiguous rows.")
            if tensor.shape[2] * tensor.stride(2) >= _NARROW and not want["far"]:
                raise ValueError(f"{name} has rows {tensor.stride(2)} elements apart, too far for 32-bit offsets.")
            if tensor.data_ptr() % 16:
                raise ValueError(f"{name} begins at address {tensor.data_ptr()}, the kernels want a multiple of 16.")
            if shape[-1] % 16 == 0 and any(stride % 16 for stride in tensor.stride()[:-1]):
                raise ValueError(f"{name} has strides {tensor.stride()}, the kernels want multiples of 16.")


#: The name of the class in version 0.1.0, which scripts import.
Attention = AttentionKernels


def forward_results(
    query: Tensor, value: Tensor, names: Sequence[str], *, covers: bool, once: bool
) -> dict[str, Tensor]:
    """Return tensors for o and its rows (lse, remainder): as of no key, unless kernels cover them."""
    dtype, rows, device = query.dtype if once else torch.float32, query.shape[:-1], query.device
    results = {"O": torch.empty((*rows, value.shape[-1]), dtype=dtype, device=device)}
    for name in names:
        if name != "O":
            results[name] = torch.empty(rows, dtype=torch.float32, device=device)
    for name, result in results.items() if not covers else ():
        result.fill_(-math.inf if name == "LSE" else 0.0)
    return results


def gradient(like: Tensor, *, covers: bool, once: bool) -> Tensor:
    """Return a tensor for a gradient: zeros, unless kernels cover it; in float32 if several launches add to it."""
    empty = torch.empty_like if covers else torch.zeros_like
    return empty(like, dtype=like.dtype if once else torch.float32, memory_format=torch.contiguous_format)


def workspace(writes: Mapping[str, str], rows: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return room for the parts of results, (1, 1, rows, ...) float32; `writes` names a result for each argument."""
    shapes = {result: (1, 1, rows, *tensors[result].shape[3:]) for result in writes.values()}
    return {name: tensors[name].new_empty(shape, dtype=torch.float32) for name, shape in shapes.items()}


def joined(writes: Mapping[str, str], parts: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arguments of a kernel that joins parts: these, taken out of `parts`, and its results."""
    arguments: dict[str, Tensor] = {}
    for argument, result in writes.items():
        arguments |= {f"{argument}_parts": parts.pop(result), argument: tensors[result]}
    return arguments


def _arrays(content: bytes, described: dict[str, Any], device: str) -> dict[str, Tensor]:
    """Return the arrays of arrays.bin: integers, one array after the other."""
    memory, arrays = bytearray(content), {}
    for name, each in described.items():
        dtype = _DTYPES[each["dtype"]]
        array = torch.frombuffer(memory, dtype=dtype, count=math.prod(each["shape"]), offset=each["offset"])
        arrays[name] = array.reshape(each["shape"]).to(device)
    return arrays
