"""Batches without padding, and attention with dropout that stays in the processor's cache.

A ragged batch (B, T) is laid out as one row of its tokens, texts of equal length side by side: everything but attention
works token by token, and attention is given where the texts lie. torch's own attention on a processor holds (B, heads,
T, T) scores several times over as soon as dropout is on; here they are made for a few texts at a time, kept by nobody
and made again in the backward pass, as FlashAttention does (Dao et al. 2022, arXiv:2205.14135). On CUDA torch has that
for texts side by side, and encoding in half precision takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

try:
    from torch.nn.attention.varlen import varlen_attn as flash
except ImportError:  # before torch 2.10
    flash = None

NAME = "vicinal"
"""Of this attention in `transformers`."""
KINDS = frozenset(("bert", "distilbert", "electra", "roberta", "xlm-roberta", "camembert"))
"""The architectures whose tokens meet in attention alone, and whose positions can be given."""
_COUNTED = frozenset(("roberta", "xlm-roberta", "camembert"))
"""Those whose positions count the tokens that are no padding."""
_SCORES = 1 << 20
"""How many scores are held at a time: 4 MiB of them."""


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch went.

    Attributes:
        places: (N,) of each packed token in the padded batch, row by row.
        shape: (B, T) of the padded batch.
        blocks: (first token, texts, tokens a text), of texts of equal length.
        ends: (texts + 1,) int32, the token at which each begins, and the end.
    """

    places: Tensor
    shape: tuple[int, int]
    blocks: tuple[tuple[int, int, int], ...]
    ends: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """The packing of a batch whose tokens this (B, T) mask shows."""
        there = mask.cpu().numpy() != 0  # by NumPy: torch's threads wait for each other where others tokenize
        lengths = there.sum(1)
        order = lengths.argsort(kind="stable")
        rows, columns = there[order].nonzero()
        widths, counts = np.unique(lengths, return_counts=True)
        blocks, start = [], 0
        for width, count in zip(widths.tolist(), counts.tolist(), strict=True):
            if width:
                blocks.append((start, count, width))
            start += width * count
        places = torch.from_numpy(order[rows] * there.shape[1] + columns)
        ends = torch.from_numpy(np.append(0, lengths[order].cumsum()).astype(np.int32))
        return cls(places, (there.shape[0], there.shape[1]), tuple(blocks), ends).to(mask.device)

    def to(self, device: Any) -> Packing:
        """The same, on another device."""
        return replace(self, places=self.places.to(device), ends=self.ends.to(device))

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T) to (1, N)."""
        return padded.reshape(-1)[self.places][None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, N, width) to (B, T, width), zero where there is no token."""
        rows, columns = self.shape
        padded = packed.new_zeros(rows * columns, packed.shape[-1])
        return padded.index_copy(0, self.places, packed[0]).view(rows, columns, -1)


def packed_inputs(features: Mapping[str, Tensor], packing: Packing, kind: str, pad: int | None) -> dict[str, Any]:
    """What a network is given for a packed batch.

    Args:
        features: input_ids, and token_type_ids where the network has them, (B, T).
        kind: the architecture, one of KINDS.
        pad: the id of padding.
    """
    ids = features["input_ids"]
    if kind in _COUNTED:
        pad = pad or 0
        there = ids.ne(pad)
        positions = there.cumsum(1) * there + pad
    else:
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    given = {name: packing.pack(features[name]) for name in ("input_ids", "token_type_ids") if name in features}
    return {**given, "position_ids": packing.pack(positions), "packing": packing}


def fits(network: Any, device: torch.device) -> bool:
    """Whether this network's texts are worked on without padding there, now.

    On a processor where gradients are wanted: to encode, texts of like length share a batch, and little is padding. On
    CUDA where none are, in half precision, by torch's own FlashAttention for texts side by side.
    """
    config = network.config
    if config._attn_implementation != NAME or network._compiled_call_impl is not None or torch.compiler.is_compiling():
        return False
    if device.type == "cpu" or torch.is_grad_enabled():
        return bool(device.type == "cpu" and torch.is_grad_enabled())
    spread = len(set(getattr(network, "hf_device_map", {}).values())) > 1
    if flash is None or spread or device.type != "cuda" or network.dtype not in (torch.float16, torch.bfloat16):
        return False
    size = config.hidden_size // config.num_attention_heads
    return bool(size % 8 == 0 and size <= 256 and torch.cuda.get_device_capability(device) >= (8, 0))


@contextmanager
def unpacking(network: Any, packing: Packing) -> Iterator[None]:
    """Let the layers of a network work on packed tokens, and its pooler and head on the padded batch, as they expect.

    Args:
        network: of KINDS, with whatever it has on top.
    """
    body = network.base_model
    layers = body.transformer if hasattr(body, "transformer") else body.encoder

    def back(module: Any, given: Any, made: Any) -> Any:
        made.last_hidden_state = packing.unpack(made.last_hidden_state)
        return made

    hook = layers.register_forward_hook(back)
    try:
        yield
    finally:
        hook.remove()


def prepare(network: Any) -> None:
    """Give a network of KINDS, if it has torch's attention, this one and the quicker dropout."""
    config = network.config
    decodes = getattr(config, "is_decoder", False)
    if config.model_type not in KINDS or config._attn_implementation != "sdpa" or decodes:
        return
    network.config._attn_implementation = NAME
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))


def register() -> None:
    """Make this attention known to `transformers`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, dropout: float = 0.0,
        scaling: float | None = None, packing: Packing | None = None, **options: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        if packing is None:
            found: tuple[Tensor, None] = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
            )
            return found
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        rows = (states[0].transpose(0, 1) for states in (query, key, value))
        if query.device.type == "cuda":
            longest = packing.blocks[-1][2]
            return flash(*rows, packing.ends, packing.ends, longest, longest, scale=scale)[None], None
        return _Attention.apply(*rows, packing.blocks, scale, dropout)[None], None

    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    """softmax(scale q k') v within each text, all (N, heads, size), with dropout of the weights.

    Scores and weights of half precision are held in float32.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: Any, scale: float, rate: float) -> Tensor:
        out, masks = torch.empty(q.shape, dtype=v.dtype, device=v.device), []
        with torch.autocast(q.device.type, enabled=False):
            for part in _parts(blocks, q.shape[1]):
                q_, k_, v_ = (_flat(_view(states, part)) for states in (q, k, v))
                weights = _weights(q_, k_, scale)
                if rate:
                    masks.append(_kept(weights, rate))
                    weights.mul_(masks[-1])
                there = _view(out, part)
                there.copy_(torch.bmm(weights.to(v.dtype), v_).div_(1 - rate).view(there.shape))
        ctx.save_for_backward(q, k, v, *masks)
        ctx.settings = blocks, scale, rate
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> Any:
        q, k, v, *masks = ctx.saved_tensors
        blocks, scale, rate = ctx.settings
        gradients = [torch.empty_like(states) for states in (q, k, v)]
        for i, part in enumerate(_parts(blocks, q.shape[1])):
            q_, k_, v_, of_out = (_flat(_view(states, part)) for states in (q, k, v, gradient))
            of_out = of_out / (1 - rate)
            weights = _weights(q_, k_, scale)
            of_weights = torch.bmm(of_out, v_.transpose(1, 2)).to(weights.dtype)
            if rate:
                of_weights.mul_(masks[i])
            kept = weights * masks[i] if rate else weights
            of_v = torch.bmm(kept.to(v.dtype).transpose(1, 2), of_out)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).to(q.dtype)
            of_q, of_k = torch.bmm(of_scores, k_).mul_(scale), torch.bmm(of_scores.transpose(1, 2), q_).mul_(scale)
            for whole, one in zip(gradients, (of_q, of_k, of_v), strict=True):
                there = _view(whole, part)
                there.copy_(one.view(there.shape))
        return (*gradients, None, None, None)


Part: TypeAlias = tuple[int, int, int, int, int]
"""First token, texts, tokens a text, first head, end of heads."""


def _parts(blocks: Iterable[tuple[int, int, int]], heads: int) -> Iterator[Part]:
    """The blocks in parts of no more than _SCORES scores, unless a single head of a single text has more."""
    for start, count, width in blocks:
        texts = min(count, max(1, _SCORES // (heads * width * width)))
        step = heads if texts > 1 else min(heads, max(1, _SCORES // (width * width)))
        for text in range(0, count, texts):
            for head in range(0, heads, step):
                yield start + text * width, min(texts, count - text), width, head, min(head + step, heads)


def _view(states: Tensor, part: Part) -> Tensor:
    """(texts, heads, tokens, size) of (N, heads, size)."""
    start, count, width, first, end = part
    rows = states[start : start + count * width]
    return rows.view(count, width, *states.shape[1:])[:, :, first:end].transpose(1, 2)


def _flat(states: Tensor) -> Tensor:
    return states.reshape(-1, *states.shape[2:])


def _weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """softmax(scale q k'), in float32 where they are of half precision."""
    wide = torch.promote_types(q.dtype, torch.float32)
    return torch.softmax(torch.bmm(q.to(wide) * scale, k.to(wide).transpose(1, 2)), -1)


def _kept(like: Tensor, rate: float) -> Tensor:
    """1 where dropout keeps a value, else 0: 16 random bits a value, so that the rate is exact to 1 in 65,536.

    torch draws one at a time for each value; this takes four from each draw, and a sixth of the time.
    """
    count = like.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    bound = round(rate * 65536) - 32768
    return torch.ge(draws.view(torch.int16)[:count], bound, out=torch.empty(count, dtype=torch.uint8)).view(like.shape)


class Dropout(nn.Dropout):  # type: ignore[misc]
    """torch's, with quicker random numbers and a smaller mask on a processor."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return functional.dropout(x, self.p, self.training)
        return _Dropout.apply(x, self.p)


class _Dropout(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        ctx.rate, kept = rate, _kept(x, rate)
        ctx.save_for_backward(kept)
        return (x * kept).div_(1 - rate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (kept,) = ctx.saved_tensors
        return (gradient * kept).div_(1 - ctx.rate), None
