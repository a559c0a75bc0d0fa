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
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.blocks import LOWEST, Keys, dense, mask_bias

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


def read_rope(keys: Keys, stated: Mapping[str, Any], width: int, positions: int, theta: float) -> Rope:
    """The rotation that a configuration's `rope_scaling` or `rope_parameters` describes.

    Args:
        stated: that mapping, {} for none.
        width: of a head.
        positions: `max_position_embeddings`.
        theta: where the mapping has none.

    Raises:
        UnsupportedModel: a scaling that is not handled here. DamagedModel: a value is missing or makes no sense.
    """
    name = stated.get("rope_type", stated.get("type")) or "default"
    if stated.get("type", name) != name:
        raise keys.unsupported(
            f"its rotary positions have rope_type {name!r}, but type {stated['type']!r}: which of the two holds is "
            "not known"
        )
    known = ("default", "ntk") if keys.kind == "new" else tuple(kind for kind in _SCALINGS if kind != "ntk")
    if name not in known:
        raise keys.unsupported(f"rotary positions of the kind {name!r} are not handled here, only {', '.join(known)}")
    if width % 2:
        raise keys.damaged(f"rotary positions need heads of even width, not {width}")
    keys = Keys(stated, keys.kind)
    keys.refuse("partial_rotary_factor", 1.0, None)
    base = keys.number("rope_theta", theta)
    if base <= 1:
        raise keys.damaged(f"rope_theta must be more than 1, not {base}")
    plain = base ** (-np.arange(0, width, 2) / width)
    frequencies, scale = _SCALINGS[name](plain, base, keys, positions)
    return Rope(tuple(frequencies.tolist()), scale, bounded=name == "dynamic")


def flat_rope(keys: Keys, width: int, positions: int, theta: float = 10_000.0) -> Rope:
    """The rotation of a network that has one for all layers, in either spelling of its configuration."""
    keys.refuse("partial_rotary_factor", 1.0, None)
    stated = dict(keys.below("rope_scaling") or keys.below("rope_parameters"))
    if (original := keys.optional("original_max_position_embeddings")) is not None:
        stated["original_max_position_embeddings"] = original
    return read_rope(keys, stated, width, positions, keys.number("rope_theta", theta))


def ropes(
    keys: Keys, width: int, positions: int, thetas: Mapping[str, float], scaled: Sequence[str]
) -> Mapping[str, Rope]:
    """The rotation of each kind of layer, in either spelling.

    Args:
        thetas: by kind, where `rope_parameters` has none.
        scaled: the kinds that `rope_scaling`, of the older spelling, is for.
    """
    stated, scaling = keys.below("rope_parameters"), keys.below("rope_scaling")
    if stated and not set(thetas) & set(stated):
        raise keys.damaged(f"rope_parameters must be by kind of layer ({', '.join(thetas)})")
    found = {}
    for kind, theta in thetas.items():
        own = {"rope_type": "default", **Keys(stated, keys.kind).below(kind), **(scaling if kind in scaled else {})}
        found[kind] = read_rope(keys, own, width, positions, theta)
    return found


# ---- scalings: (frequencies without, theta, their keys, positions) to frequencies and a factor for cosines -----------


def _default(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    return plain, 1.0


def _linear(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    """Places are `factor` times as near."""
    return plain / keys.number("factor"), 1.0


def _dynamic(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    """Changes with the length of the batch, but not up to `positions`, which bounds the texts."""
    keys.number("factor")
    return plain, 1.0


def _ntk(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    """A larger theta, fixed (https://kexue.fm/archives/9706, equation 6): GTE's, as its own code computes it."""
    keys.refuse("mixed_b", None)
    factor, pairs = max(keys.number("factor"), 1.0), len(plain)
    return plain * factor ** (-np.arange(pairs) / pairs) / factor ** (1 / pairs), 1.0


def _llama3(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    """Slow pairs divided by `factor`, fast ones kept, a ramp between (Llama 3.1)."""
    factor, low, high = (keys.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = keys.count("original_max_position_embeddings", positions)
    turns = original * plain / (2 * math.pi)
    if low >= high:
        raise keys.damaged(f"low_freq_factor {low} must be less than high_freq_factor {high}")
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return plain * kept + plain / factor * (1 - kept), 1.0


def _yarn(plain: Floats, base: float, keys: Keys, positions: int) -> tuple[Floats, float]:
    """As llama3, by the rank of a pair, and sharper attention (Peng et al. 2023, arXiv:2309.00071)."""
    original = keys.count("original_max_position_embeddings", positions)
    factor = keys.some("factor") or positions / original
    fast, slow = keys.some("beta_fast") or 32.0, keys.some("beta_slow") or 1.0
    width = 2 * len(plain)
    first, last = (width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (fast, slow))
    if keys.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    last = last + 0.001 if first == last else last
    kept = 1 - np.clip((np.arange(len(plain)) - first) / (last - first), 0, 1)
    return plain * kept + plain / factor * (1 - kept), keys.some("attention_factor") or _sharpness(keys, factor)


def _sharpness(keys: Keys, factor: float) -> float:
    def of(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1

    scale, scale_all = keys.some("mscale"), keys.some("mscale_all_dim")
    return of(scale) / of(scale_all) if scale and scale_all else of(1.0)


_Scaling = Callable[[Floats, float, Keys, int], tuple[Floats, float]]
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


def visible(ops: Ops, x: Mapping[str, Handle], positions: int, causal: bool, reach: int | None = None) -> Handle | None:
    """What tokens see, as a bias that broadcasts to (B, 1, T, T): 0, or LOWEST where a query may not look.

    Args:
        positions: that there are at most.
        causal: whether only the tokens before count. Padding is on the right, where they do not look.
        reach: how far from its own place a token sees; None has no bound.
    """
    near = _within(ops, x["index"], positions, reach, 0 if causal else reach)
    if causal:
        return near
    mask = mask_bias(ops, x["mask"])
    return mask if near is None else mask + near


def _within(ops: Ops, index: Handle, positions: int, back: int | None, ahead: int | None) -> Handle | None:
    """(1, 1, T, T): 0 where the key is at most `back` places before the query and `ahead` after it, else LOWEST.

    A bound that no text of `positions` tokens meets costs nothing: None, where there is no other.
    """
    key, query = ops.expand_dims(index, 0), ops.expand_dims(index, 1)
    bias: Handle | None = None
    for near, far, bound in ((query, key, back), (key, query, ahead)):
        if bound is not None and bound < positions - 1:
            limit = far + ops.constant(np.int32(bound)) if bound else far
            within = ops.constant(np.float32(0)) if bias is None else bias
            bias = ops.where(ops.less_equal(near, limit), within, ops.constant(LOWEST))
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


def layer_kinds(keys: Keys, layers: int, default: Sequence[str]) -> tuple[str, ...]:
    """Which layers see all and which a window: `layer_types`, or `default` where the file has none.

    Raises:
        UnsupportedModel: a layer is of another kind. DamagedModel: the list does not fit the layers.
    """
    stated = keys.sequence("layer_types")
    if stated is None:
        return tuple(default)
    if len(stated) != layers:
        raise keys.damaged(f"layer_types must name a kind for each of {layers} layers")
    if strange := [name for name in stated if name not in (FULL, SLIDING)]:
        raise keys.unsupported(f"layers of the kind {strange[0]!r} are not handled here, only {FULL} and {SLIDING}")
    return tuple(stated)
