"""Token states to one vector a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from vicinal.loading import spec
from vicinal.loading.modules import OLD_POOLING
from vicinal.models.module import Features, Module, kept, older

_WIDTH = {"word_embedding_dimension": "embedding_dimension"}


class Pooling(Module):
    """Token states (B, T, width) to one vector a text; several modes are concatenated.

    Args:
        embedding_dimension: width of a token state.
        pooling_mode: of POOLING_MODES, or a sequence of them.
        include_prompt: whether the prompt's own tokens count.

    Raises:
        ValueError: no such mode.
    """

    POOLING_MODES = spec.POOLING_MODES
    config_keys: ClassVar[Sequence[str]] = ("embedding_dimension", "pooling_mode", "include_prompt")
    config_key_renames: ClassVar[Mapping[str, str]] = _WIDTH

    def __init__(
        self,
        embedding_dimension: int | None = None,
        pooling_mode: str | Sequence[str] | None = None,
        include_prompt: bool = True,
        **older_names: Any,
    ) -> None:
        super().__init__()
        flags = [mode for key, mode in OLD_POOLING.items() if older_names.pop(key, False)]
        embedding_dimension = older(_WIDTH, older_names, "Pooling").get("embedding_dimension", embedding_dimension)
        if type(embedding_dimension) is not int or embedding_dimension < 1:
            raise ValueError(f"Pooling needs the width of a token state, not {embedding_dimension!r}")
        modes = pooling_mode or flags or "mean"
        self.embedding_dimension, self.include_prompt = embedding_dimension, include_prompt
        self.pooling_mode = modes if isinstance(modes, str) else modes[0] if len(modes) == 1 else tuple(modes)
        if unknown := [mode for mode in self.modes if mode not in self.POOLING_MODES]:
            raise ValueError(f"pooling_mode {unknown[0]!r} is none of {', '.join(self.POOLING_MODES)}")

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes, also where there is one."""
        return (self.pooling_mode,) if isinstance(self.pooling_mode, str) else tuple(self.pooling_mode)

    @property
    def pooling_output_dimension(self) -> int:
        """Width of the text vector."""
        return self.embedding_dimension * len(self.modes)

    def get_embedding_dimension(self) -> int:
        """The same."""
        return self.pooling_output_dimension

    def get_pooling_mode_str(self) -> str:
        """The modes, joined by "+"."""
        return "+".join(self.modes)

    @classmethod
    def load_config(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The settings of a folder, older spellings read too."""
        config = super().load_config(*args, **options)
        flags = [mode for key, mode in OLD_POOLING.items() if config.pop(key, False)]
        if flags:
            config.setdefault("pooling_mode", flags)
        return config

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds sentence_embedding (B, dims). Reads token_embeddings, attention_mask, prompt_length."""
        states = features["token_embeddings"]
        mask = features.get("attention_mask")
        if mask is None or mask.shape[-1] != states.shape[1]:
            mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        counted = mask
        if not self.include_prompt and features.get("prompt_length") is not None:
            counted = _without_prompt(mask, features["prompt_length"])
        vectors = [pool(mode, states, mask, counted, features) for mode in self.modes]
        return kept(features, sentence_embedding=vectors[0] if len(vectors) == 1 else torch.cat(vectors, -1))

    def form(self) -> spec.Module:
        return spec.Pooling(self.embedding_dimension, self.modes, self.include_prompt)


def _without_prompt(mask: torch.Tensor, prompt_length: Any) -> torch.Tensor:
    """The mask without the first so many tokens of each text, wherever padding stands."""
    length = int(prompt_length.reshape(-1)[0]) if isinstance(prompt_length, torch.Tensor) else int(prompt_length)
    return mask * (mask.cumsum(1) > length)


def pool(
    mode: str, states: torch.Tensor, mask: torch.Tensor, counted: torch.Tensor, features: Mapping[str, Any]
) -> torch.Tensor:
    """One vector a text (B, width).

    Args:
        states: (B, T, width). Sums are taken in float32 at least.
        mask: (B, T) of the tokens that are there, `counted` of those that pooling counts.
        features: token_weights_sum, of word weights, replaces the count; cls_token_embeddings the first state.
    """
    rows = torch.arange(len(states), device=states.device)
    if mode == "cls":
        first = features.get("cls_token_embeddings")
        return states[rows, counted.to(torch.int32).argmax(1)] if first is None else first
    if mode == "lasttoken":
        last = counted.shape[1] - 1 - counted.to(torch.int32).flip(1).argmax(1)
        last = torch.where(counted.any(1), last, 0)
        return states[rows, last] * counted.any(1, keepdim=True).to(states.dtype)
    if mode == "max":
        return states.masked_fill(counted.unsqueeze(-1) == 0, -torch.inf).amax(1)
    wide = torch.promote_types(states.dtype, torch.float32)
    weight = counted.to(wide)
    if mode == "weightedmean":  # a token weighs as much as its place, from 1
        weight = weight * mask.cumsum(1).to(wide)
    total = (states.to(wide) * weight.unsqueeze(-1)).sum(1)
    stated = features.get("token_weights_sum")
    count = (weight.sum(1) if stated is None else stated.to(wide)).clamp(min=1e-9).unsqueeze(-1)
    return (total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)).to(states.dtype)
