"""Backends: what computes a network. Which one, in which dtype, is chosen once and can be read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from vicinal.backends.base import Build, Program
from vicinal.errors import Unavailable, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.exported import Exported
from vicinal.loading.spec import Spec, StaticEmbedding

Backend = Literal["openvino", "onnx", "numpy", "torch"]
Dtype = Literal["float32", "bfloat16", "float16", "int8"]

_DTYPES: dict[str, Dtype] = {
    "float32": "float32", "fp32": "float32", "torch.float32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16", "torch.bfloat16": "bfloat16",
    "float16": "float16", "fp16": "float16", "torch.float16": "float16",
    "int8": "int8",
}  # fmt: skip

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "openvino": ("ov_config",),
    "onnx": ("provider", "provider_options"),
    "numpy": (),
    "torch": ("attn_implementation", "device_map"),
}
"""What each backend is told beside dtype and threads."""
_PROVIDER = "CPUExecutionProvider"
"""The one whose numbers are those of the other backends."""


@dataclass(frozen=True)
class Choice:
    """What really runs.

    Attributes:
        backend: "openvino", "onnx", or "numpy" for static models.
        dtype: of the products.
        threads: processor threads.
        settings: of the backend's own: `provider`, `provider_options` (onnx), `ov_config` (openvino),
            `attn_implementation`, `device_map` (torch).
        device: "cpu"; for torch also "cuda", "cuda:1", "mps", ...
    """

    backend: Backend
    dtype: Dtype
    threads: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


def choose(
    spec: Spec,
    backend: str,
    dtype: object,
    threads: int | None,
    settings: Mapping[str, Any] | None = None,
    device: object = None,
) -> Choice:
    """Settle what runs a model; "auto" takes the fastest that is faithful, a wish that cannot be met is an error.

    Args:
        backend: "auto", "openvino", "onnx", "numpy" or "torch". "auto" takes torch for another device than the
            processor, and for what no other backend can run.
        dtype: "auto" (bfloat16 where the processor has it, else float32; float32 in torch), or by name.
        threads: None for every processor that this process may use.
        settings: of a backend's own, which it must know.

    Raises:
        Unavailable: the backend, device, dtype or provider is not to be had here. ValueError: no such name, or a
            setting that means nothing to the backend. MissingExtra: the backend is not installed.
        UnsupportedModel: torch alone can run the model, and it is not installed or another backend is asked for.
    """
    place = "cpu" if device is None or str(device) == "cpu:0" else str(device)
    alone = next((reason for route in spec.routes.values() if (reason := route.needs_torch)), "")
    if alone and not torch_runs(backend):
        raise UnsupportedModel(f"{alone}; backend=\"torch\" runs it: pip install 'vicinal[torch]'")
    firsts = [route.modules[0] for route in spec.routes.values()]
    static = all(isinstance(first, StaticEmbedding) for first in firsts)
    if backend not in ("auto", *_SETTINGS):
        raise ValueError(f'backend must be "auto", "openvino", "onnx", "numpy" or "torch", not {backend!r}')
    file = next((first for first in firsts if isinstance(first, Exported)), None)
    usual: str = "numpy" if static else "openvino" if file is None else file.kind
    if alone or place != "cpu":
        usual = "torch"
    chosen = cast(Backend, usual if backend == "auto" else backend)
    if place != "cpu" and chosen != "torch":
        raise Unavailable(f'backend="{chosen}" runs on the processor, not on {place}: backend="torch" does')
    count = available_threads() if threads is None else threads
    if type(count) is not int or count < 1:
        raise ValueError(f"threads must be a positive integer, not {threads!r}")
    given = _checked(chosen, settings or {})
    if chosen == "torch":
        return Choice("torch", _torch(dtype, place), count, given, place)
    return Choice(chosen, _dtype(chosen, dtype, file), count, given)


def torch_runs(backend: str) -> bool:
    """Whether torch may run what no network here does."""
    return backend in ("auto", "torch") and find_spec("torch") is not None and find_spec("transformers") is not None


def _checked(backend: Backend, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that are given, each of which the backend must know."""
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given:
        if name not in _SETTINGS[backend]:
            owners = [f'backend="{other}"' for other, names in _SETTINGS.items() if name in names]
            raise ValueError(f"{name} means nothing to the {backend} backend; it is for {' or '.join(owners)}")
    if "provider_options" in given and "provider" not in given:
        raise ValueError("provider_options are given without the provider that they are for")
    if backend == "onnx":
        from vicinal.backends.onnx import provider_name

        provider_name(given.get("provider"))
    return given


def _dtype(backend: Backend, dtype: object, file: Exported | None = None) -> Dtype:
    """The dtype that is asked for, if the backend has it; a file's own where the network is one."""
    if file is not None:
        from vicinal.backends.files import stored_dtype

        stored = stored_dtype(file.file)
        asked = stored if str(dtype) == "auto" else _DTYPES.get(str(dtype))
        if stored != "float32" and asked == stored:
            return stored
        if stored != "float32" or asked == "int8":
            raise Unavailable(f"{file.file} has products of {stored}, not {dtype}: leave dtype to the file")
    if str(dtype) != "auto":
        named = _DTYPES.get(str(dtype))
        if named is None:
            raise ValueError(f'dtype must be "auto", "float32", "bfloat16", "float16" or "int8", not {dtype!r}')
        if named == "float16":
            raise Unavailable(f'the {backend} backend does not compute in float16: use "bfloat16", or backend="torch"')
        if backend == "numpy" and named != "float32":
            raise Unavailable(f'the numpy backend computes in float32, not {named}: use dtype="auto" or "float32"')
        if backend == "onnx" and named == "bfloat16":
            raise Unavailable(
                "the onnx backend computes in float32 or int8, not bfloat16, which ONNX Runtime has no products for on "
                'a processor: use dtype="float32", "int8", or backend="openvino"'
            )
        return named
    if backend != "openvino":
        return "float32"
    from vicinal.backends.openvino import has_bfloat16

    return "bfloat16" if has_bfloat16() else "float32"


def _torch(dtype: object, device: str) -> Dtype:
    """The dtype that torch computes in, on a device that must be there."""
    named = _DTYPES.get("float32" if str(dtype) == "auto" else str(dtype))
    if named is None:
        raise ValueError(f'dtype must be "auto", "float32", "bfloat16" or "float16", not {dtype!r}')
    if named == "int8":
        raise Unavailable('the torch backend does not compute in int8: use dtype="bfloat16" or "float16"')
    torch_device(device)
    return named


def torch_device(device: str) -> None:
    """See that torch has a device.

    Raises:
        Unavailable: it has not.
    """
    try:
        require("torch", 'backend="torch"').empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Unavailable(f"device={device!r} is not to be had here: {error}") from error


def compile_graph(build: Build, choice: Choice) -> Program:
    """A graph for the backend that was chosen."""
    assert choice.dtype != "float16", "it was refused when it was chosen"
    if choice.backend == "numpy":
        from vicinal.backends import numpy as numpy_backend

        return numpy_backend.compile_graph(build)
    if choice.backend == "onnx":
        from vicinal.backends import onnx

        return onnx.compile_graph(build, choice.dtype, choice.threads, **choice.settings)
    from vicinal.backends import openvino

    return openvino.compile_graph(build, choice.dtype, choice.threads, **choice.settings)


def numerics(choice: Choice) -> str:
    """What decides the digits of a vector beside the model: vectors of one model with equal `numerics` may be swapped.

    In float32 the backends agree to about 1e-5 of a vector's length and count as one. Every other dtype is the
    backend's own, and so is the way in which it quantises.
    """
    own = {name: value for name, value in choice.settings.items() if name != "provider" or value != _PROVIDER}
    return f"{_products(choice)} {sorted(own.items())}" if own else _products(choice)


def _products(choice: Choice) -> str:
    if choice.dtype == "float32":
        return "float32"
    if choice.backend == "openvino" and choice.dtype != "float16":
        from vicinal.backends import openvino

        return f"openvino {openvino.recipe(choice.dtype)}"
    if choice.backend == "onnx" and choice.dtype != "float16":
        from vicinal.backends import onnx

        return f"onnx {onnx.recipe(choice.dtype)}"
    return f"{choice.backend} {choice.dtype}"


def available_threads() -> int:
    """Processors that this process may use: its affinity, within a container's quota. VICINAL_THREADS overrides."""
    if stated := os.environ.get("VICINAL_THREADS"):
        if not stated.isdigit() or int(stated) < 1:
            raise Unavailable(f"VICINAL_THREADS must be a positive integer, not {stated!r}")
        return int(stated)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota(Path("/sys/fs/cgroup")) or count))


def _quota(root: Path) -> int | None:
    """Processors that a control group allows (version 2, then 1), rounded up; None without a bound."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, -(-int(quota) // int(period)))
