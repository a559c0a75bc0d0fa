"""Rotary positions (Su et al. 2021, arXiv:2104.09864), their scalings, and what goes with them: windows, gated
feed-forwards, root-mean-square norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.blocks import LOWEST, Keys, dense

FULL, SLIDING = "full_attention", "sliding_attention"

LONGEST = 1 << 17
"""Positions that are tabulated at most: 64 MB at a head width of 128."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rope:
    """How queries and keys are turned, by the place of their token.

    Attributes:
        frequencies: radians a place, one for each pair of dimensions (d / 2).
        scale: what cosines and sines are multiplied by.
        bounded: whether it is exact only up to the positions that the configuration states.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0
    bounded: bool = False


def read_rope(stated: Mapping[str, Any], kind: str, width: int, positions: int, theta: float) -> Rope:
    """The rotation that a configuration's `rope_scaling` or `rope_parameters` describes.

    Args:
        stated: that mapping, {} for none.
        kind: the model's type, for messages.
        width: of a head.
        positions: `max_position_embeddings`.
        theta: where the mapping has none.

    Raises:
        UnsupportedModel: a scaling that is not handled here. DamagedModel: a value is missing or makes no sense.
    """
    keys = Keys({**stated, "model_type": f"{kind} (rope_parameters)"})
    keys.refuse("partial_rotary_factor", 1.0, None)
    name = stated.get("rope_type", stated.get("type")) or "default"
    if name not in _SCALINGS:
        raise UnsupportedModel(
            f"config.json of this {kind} model: rotary positions of the kind {name!r} are not handled here, only "
            f"{', '.join(_SCALINGS)}"
        )
    if width % 2:
        raise DamagedModel(f"config.json of this {kind} model: rotary positions need heads of even width, not {width}")
    base = keys.number("rope_theta", theta)
    plain = base ** (-np.arange(0, width, 2) / width)
    frequencies, scale = _SCALINGS[name](plain, base, keys, stated, positions)
    return Rope(tuple(frequencies.tolist()), scale, bounded=name == "dynamic")


def flat_rope(config: Mapping[str, Any], kind: str, width: int, positions: int, theta: float = 10_000.0) -> Rope:
    """The rotation of a network that has one for all layers, in either spelling of its configuration."""
    stated = mapping(config, kind, "rope_scaling") or mapping(config, kind, "rope_parameters")
    Keys(config).refuse("partial_rotary_factor", 1.0, None)
    if (original := config.get("original_max_position_embeddings")) is not None:
        stated = {**stated, "original_max_position_embeddings": original}
    return read_rope(stated, kind, width, positions, Keys(config).number("rope_theta", theta))


def mapping(config: Mapping[str, Any], kind: str, key: str) -> Mapping[str, Any]:
    """An object inside `config.json`, {} where there is none."""
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise DamagedModel(f"config.json of this {kind} model: {key} must be an object or null, not {value!r}")
    return value or {}


# ---- scalings: (frequencies without, theta, keys, their mapping, positions) to frequencies and the factor -----------


def _default(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    return plain, 1.0


def _linear(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    """Places are `factor` times as near."""
    return plain / keys.number("factor"), 1.0


def _dynamic(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    """Changes with the length of the batch, but not up to `positions`, which bounds the texts."""
    keys.number("factor")
    return plain, 1.0


def _ntk(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    """A larger theta, fixed (https://kexue.fm/archives/9706, equation 6): GTE's, as its own code computes it."""
    keys.refuse("mixed_b", None)
    factor, pairs = keys.number("factor"), len(plain)
    return plain * factor ** (-np.arange(pairs) / pairs) / factor ** (1 / pairs), 1.0


def _llama3(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    """Slow pairs divided by `factor`, fast ones kept, a ramp between (Llama 3.1)."""
    factor, low, high = (keys.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = keys.count("original_max_position_embeddings", positions)
    turns = original * plain / (2 * math.pi)
    if low >= high:
        raise DamagedModel(f"config.json: low_freq_factor {low} must be less than high_freq_factor {high}")
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return plain * kept + plain / factor * (1 - kept), 1.0


def _yarn(plain: Floats, base: float, keys: Keys, stated: Mapping[str, Any], positions: int) -> tuple[Floats, float]:
    """As llama3, by the rank of a pair, and sharper attention (Peng et al. 2023, arXiv:2309.00071)."""
    original = keys.count("original_max_position_embeddings", positions)
    factor = keys.number("factor") if stated.get("factor") is not None else positions / original
    fast, slow = (keys.number(key) if stated.get(key) else default for key, default in _BETAS)
    width = 2 * len(plain)
    first, last = (width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (fast, slow))
    if keys.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    last = last + 0.001 if first == last else last
    kept = 1 - np.clip((np.arange(len(plain)) - first) / (last - first), 0, 1)
    return plain * kept + plain / factor * (1 - kept), _yarn_scale(keys, stated, factor)


_BETAS = (("beta_fast", 32.0), ("beta_slow", 1.0))


def _yarn_scale(keys: Keys, stated: Mapping[str, Any], factor: float) -> float:
    if stated.get("attention_factor") is not None:
        return keys.number("attention_factor")

    def sharper(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1

    if stated.get("mscale") and stated.get("mscale_all_dim"):
        return sharper(keys.number("mscale")) / sharper(keys.number("mscale_all_dim"))
    return sharper(1.0)


_Scaling = Callable[[Floats, float, Keys, Mapping[str, Any], int], tuple[Floats, float]]
_SCALINGS: Mapping[str, _Scaling] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "ntk": _ntk,
    "llama3": _llama3,
    "yarn": _yarn,
}


# ---- in the graph ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)  # NumPy's backend builds its graph at every batch; graphs of one model share the memory
def _tables(rope: Rope, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every place, (positions, d / 2); angles are rounded to float32, as the reference does."""
    angle = np.outer(np.arange(positions, dtype=np.float32), np.array(rope.frequencies, np.float32))
    sine = np.sin(angle)
    cosine = np.cos(angle, out=angle)
    cosine *= np.float32(rope.scale)
    sine *= np.float32(rope.scale)
    return Tensor.of("rope.cos", cosine), Tensor.of("rope.sin", sine)


Turn = Callable[[Handle], Handle]


def turning(ops: Ops, rope: Rope, index: Handle, positions: int) -> Turn:
    """A function that turns heads (B, H, T, d): dimension i goes with i + d / 2.

    Args:
        index: (T,) the places.
        positions: that there are at most.
    """
    half = len(rope.frequencies)
    once = (ops.embed(table, index) for table in _tables(rope, positions))
    cosine, sine = (ops.expand_dims(ops.concat([rows, rows], -1), 0, 1) for rows in once)

    def turn(x: Handle) -> Handle:
        a, b = ops.slice(x, 3, 0, half), ops.slice(x, 3, half, 2 * half)
        return x * cosine + ops.concat([b * ops.constant(np.float32(-1)), a], -1) * sine

    return turn


def reach_bias(
    ops: Ops, index: Handle, positions: int, back: int | None = None, ahead: int | None = None
) -> Handle | None:
    """(1, 1, T, T): 0 where the key is at most `back` places before the query and `ahead` after it, else LOWEST.

    A bound that no text of `positions` tokens meets costs nothing: None, where there is no other.
    """
    key, query = ops.expand_dims(index, 0), ops.expand_dims(index, 1)
    zero, lowest = ops.constant(np.float32(0)), ops.constant(LOWEST)
    bias: Handle | None = None
    for near, far, bound in ((query, key, back), (key, query, ahead)):
        if bound is not None and bound < positions - 1:
            limit = far + ops.constant(np.int32(bound)) if bound else far
            inside = ops.less_equal(near, limit)
            bias = ops.where(inside, zero if bias is None else bias, lowest)
    return None if bias is None else ops.expand_dims(bias, 0, 1)


def rms(ops: Ops, w: Scope, name: str, x: Handle, width: int, eps: float) -> Handle:
    """The root-mean-square normalisation `name` (Zhang and Sennrich 2019, arXiv:1910.07467)."""
    return ops.rms_norm(x, w.at(name).tensor("weight", width), eps)


def gated(
    ops: Ops, w: Scope, names: Sequence[str], x: Handle, width: int, inner: int, act: Unary, bias: bool = False
) -> Handle:
    """down(act(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202); `names` of gate, up and down."""
    gate, up = (dense(ops, w, name, x, width, inner, bias) for name in names[:2])
    return dense(ops, w, names[2], ops.unary(act, gate) * up, inner, width, bias)


def layer_kinds(config: Mapping[str, Any], kind: str, layers: int, default: Sequence[str]) -> tuple[str, ...]:
    """Which layers see all and which a window: `layer_types`, or `default` where the file has none.

    Raises:
        UnsupportedModel: a layer is of another kind. DamagedModel: the list does not fit the layers.
    """
    stated = config.get("layer_types")
    if stated is None:
        return tuple(default)
    if not isinstance(stated, list) or len(stated) != layers:
        raise DamagedModel(
            f"config.json of this {kind} model: layer_types must name a kind for each of {layers} layers"
        )
    for name in stated:
        if name not in (FULL, SLIDING):
            raise UnsupportedModel(
                f"config.json of this {kind} model: layers of the kind {name!r} are not handled here, only {FULL} "
                f"and {SLIDING}"
            )
    return tuple(stated)
