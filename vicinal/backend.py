"""Exported networks, where users look for them."""

from __future__ import annotations

from typing import NoReturn

from vicinal import refused
from vicinal.exporting import (
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
    export_static_quantized_openvino_model,
)

__all__ = [
    "export_dynamic_quantized_onnx_model",
    "export_optimized_onnx_model",
    "export_static_quantized_openvino_model",
]


def __getattr__(name: str) -> NoReturn:
    refused.module_name(__name__, name)
