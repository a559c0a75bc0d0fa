"""Backends: what computes a network. Which one, in which dtype, is chosen once and can be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vicinal.backends.base import Build, Program
from vicinal.errors import Unavailable
from vicinal.loading.spec import Spec, StaticEmbedding

Backend = Literal["openvino", "numpy"]
Dtype = Literal["float32", "bfloat16", "int8"]

_DTYPES: dict[str, Dtype] = {
    "float32": "float32", "fp32": "float32", "torch.float32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16", "torch.bfloat16": "bfloat16",
    "int8": "int8",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What really runs.

    Attributes:
        backend: "openvino", or "numpy" for static models.
        dtype: of the products.
        threads: processor threads.
    """

    backend: Backend
    dtype: Dtype
    threads: int


def choose(spec: Spec, backend: str, dtype: object, threads: int | None) -> Choice:
    """Settle what runs a model; "auto" takes the fastest that is faithful, a wish that cannot be met is an error.

    Args:
        backend: "auto", "openvino" or "numpy".
        dtype: "auto" (bfloat16 where the processor has it, else float32), or by name.
        threads: None for every processor that this process may use.

    Raises:
        Unavailable: the backend or dtype is not to be had here. ValueError: no such name.
    """
    static = all(isinstance(route.modules[0], StaticEmbedding) for route in spec.routes.values())
    if backend in ("torch", "onnx"):
        raise Unavailable(f'backend="{backend}" is not in this version of vicinal; use "openvino" or "auto"')
    if backend not in ("auto", "openvino", "numpy"):
        raise ValueError(f'backend must be "auto", "openvino" or "numpy", not {backend!r}')
    chosen: Backend = "numpy" if backend == "numpy" or (backend == "auto" and static) else "openvino"
    count = available_threads() if threads is None else threads
    if type(count) is not int or count < 1:
        raise ValueError(f"threads must be a positive integer, not {threads!r}")
    return Choice(chosen, _dtype(chosen, dtype), count)


def _dtype(backend: Backend, dtype: object) -> Dtype:
    if str(dtype) != "auto":
        named = _DTYPES.get(str(dtype))
        if named is None:
            raise ValueError(f'dtype must be "auto", "float32", "bfloat16" or "int8", not {dtype!r}')
        if backend == "numpy" and named != "float32":
            raise Unavailable(f'the numpy backend computes in float32, not {named}: use dtype="auto" or "float32"')
        return named
    if backend == "numpy":
        return "float32"
    from vicinal.backends.openvino import has_bfloat16

    return "bfloat16" if has_bfloat16() else "float32"


def compile_graph(build: Build, choice: Choice) -> Program:
    """A graph for the backend that was chosen."""
    if choice.backend == "numpy":
        from vicinal.backends import numpy as numpy_backend

        return numpy_backend.compile_graph(build)
    from vicinal.backends import openvino

    return openvino.compile_graph(build, choice.dtype, choice.threads)


def numerics(choice: Choice) -> str:
    """What decides the digits of a vector beside the model: vectors of one model with equal `numerics` may be swapped.

    In float32 the backends agree to about 1e-5 of a vector's length and count as one. Every other dtype is the
    backend's own, and so is the way in which it quantises.
    """
    if choice.dtype == "float32":
        return "float32"
    if choice.backend == "openvino":
        from vicinal.backends.openvino import recipe

        return f"openvino {recipe(choice.dtype)}"
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
