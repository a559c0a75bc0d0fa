"""What the machine's matrix products reach: all-MiniLM-L6-v2's linear layers, one after another, nothing between them.

usage: python benchmarks/ceiling.py

NumPy at float32, torch (where it is installed) and OpenVINO at float32 and bfloat16; prints one JSON object of
operations a second, the best of some rounds each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

TOKENS, WIDTH, INNER, LAYERS = 1024, 384, 1536, 6
SHAPES = [(WIDTH, WIDTH)] * 4 + [(WIDTH, INNER), (INNER, WIDTH)]
LINEAR = 2 * LAYERS * sum(a * b for a, b in SHAPES)
"""Operations of a token's linear layers."""


def work(lengths: np.ndarray) -> float:
    """Operations of the matrix products that texts of these lengths need, attention's too."""
    return float(lengths.sum() * LINEAR + (lengths.astype(float) ** 2).sum() * 4 * WIDTH * LAYERS)


def _weights() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5) for shape in SHAPES * LAYERS]


def _numpy(x: np.ndarray) -> Callable[[], object]:
    weights = _weights()

    def run() -> None:
        y = x
        for weight in weights:
            y = y @ weight

    return run


def _torch(x: np.ndarray, dtype: str) -> Callable[[], object]:
    import torch

    weights = [torch.from_numpy(weight).to(getattr(torch, dtype)).T.contiguous() for weight in _weights()]
    given = torch.from_numpy(x).to(getattr(torch, dtype))

    @torch.inference_mode()
    def run() -> None:
        y = given
        for weight in weights:
            y = torch.nn.functional.linear(y, weight)

    return run


def _openvino(x: np.ndarray, dtype: str) -> Callable[[], object]:
    import openvino as ov
    from openvino import opset13 as op

    y = given = op.parameter([-1, WIDTH], ov.Type.f32)
    for weight in _weights():
        y = op.matmul(y, op.constant(weight), False, False)
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32"}
    request = ov.Core().compile_model(ov.Model([y], [given], "products"), "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True)


def measure(rounds: int = 15) -> dict[str, float]:
    """Operations a second, by library and dtype."""
    x = np.random.default_rng(1).standard_normal((TOKENS, WIDTH), np.float32)
    runs = {"numpy:float32": _numpy(x)}
    for dtype in ("float32", "bfloat16"):
        runs[f"openvino:{dtype}"] = _openvino(x, dtype)
        if find_spec("torch"):
            runs[f"torch:{dtype}"] = _torch(x, dtype)
    best: dict[str, float] = {}
    for turn in range(rounds + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            spent = time.perf_counter() - begin
            if turn > 1:
                best[name] = max(best.get(name, 0.0), TOKENS * LINEAR / spent)
    return best


if __name__ == "__main__":
    print(json.dumps(measure()))
