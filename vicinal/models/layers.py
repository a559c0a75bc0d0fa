"""What stands between token states and pooling: layers mixed, convolutions, recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from vicinal.models.module import Features, Module, kept, older

_WIDTH = {"word_embedding_dimension": "embedding_dimension"}
_IN_WIDTH = {"in_word_embedding_dimension": "in_embedding_dimension"}


def _needed(value: Any, name: str, where: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{where} needs {name}, a positive integer, not {value!r}")
    return value


class WeightedLayerPooling(Module):
    """Token states as the weighted mean of several layers' states, with a weight a layer that is trained.

    The network must give all_layer_embeddings: `Transformer(..., config_kwargs={"output_hidden_states": True})`.
    Without them the features stay as they are.

    Args:
        embedding_dimension: width of a token state.
        num_hidden_layers: of the network.
        layer_start: the first that counts; 0 is the embeddings.
        layer_weights: to begin with; all 1 where not given.
    """

    config_keys: ClassVar[Sequence[str]] = ("embedding_dimension", "layer_start", "num_hidden_layers")
    config_key_renames: ClassVar[Mapping[str, str]] = _WIDTH

    def __init__(
        self,
        embedding_dimension: int | None = None,
        num_hidden_layers: int = 12,
        layer_start: int = 4,
        layer_weights: torch.Tensor | None = None,
        **older_names: Any,
    ) -> None:
        super().__init__()
        width = older(_WIDTH, older_names, "WeightedLayerPooling").get("embedding_dimension", embedding_dimension)
        self.embedding_dimension = _needed(width, "embedding_dimension", "WeightedLayerPooling")
        self.layer_start, self.num_hidden_layers = layer_start, num_hidden_layers
        weights = torch.ones(num_hidden_layers + 1 - layer_start) if layer_weights is None else layer_weights
        self.layer_weights = nn.Parameter(torch.as_tensor(weights))

    def get_embedding_dimension(self) -> int:
        """Width of a token state."""
        return self.embedding_dimension

    def forward(self, features: Features, **options: Any) -> Features:
        """Replaces token_embeddings (B, T, width)."""
        layers = features.get("all_layer_embeddings")
        if layers is None:
            return features
        states = torch.stack(list(layers)[self.layer_start :])
        mixed = torch.einsum("l,lbtw->btw", self.layer_weights.to(states.dtype), states)
        return kept(features, token_embeddings=mixed / self.layer_weights.sum().to(states.dtype))


class CNN(Module):
    """Convolutions of several widths over token states, their outputs side by side.

    Args:
        in_embedding_dimension: width of a token state.
        out_channels: width of each convolution's output.
        kernel_sizes: tokens that each convolution sees.
        stride_sizes: of each; all 1 where not given.
    """

    config_file_name: ClassVar[str] = "cnn_config.json"
    config_keys: ClassVar[Sequence[str]] = ("in_embedding_dimension", "out_channels", "kernel_sizes", "stride_sizes")
    config_key_renames: ClassVar[Mapping[str, str]] = _IN_WIDTH

    def __init__(
        self,
        in_embedding_dimension: int | None = None,
        out_channels: int = 256,
        kernel_sizes: Sequence[int] = (1, 3, 5),
        stride_sizes: Sequence[int] | None = None,
        **older_names: Any,
    ) -> None:
        super().__init__()
        width = older(_IN_WIDTH, older_names, "CNN").get("in_embedding_dimension", in_embedding_dimension)
        self.in_embedding_dimension = _needed(width, "in_embedding_dimension", "CNN")
        self.out_channels, self.kernel_sizes = out_channels, list(kernel_sizes)
        self.stride_sizes = [1] * len(self.kernel_sizes) if stride_sizes is None else list(stride_sizes)
        if len(self.stride_sizes) != len(self.kernel_sizes):
            raise ValueError(f"CNN: {len(self.kernel_sizes)} kernel_sizes, but {len(self.stride_sizes)} stride_sizes")
        self.embeddings_dimension = out_channels * len(self.kernel_sizes)
        self.convs = nn.ModuleList(
            nn.Conv1d(self.in_embedding_dimension, out_channels, size, stride, padding=(size - 1) // 2)
            for size, stride in zip(self.kernel_sizes, self.stride_sizes, strict=True)
        )

    def get_embedding_dimension(self) -> int:
        """Width of what it makes."""
        return self.embeddings_dimension

    def forward(self, features: Features, **options: Any) -> Features:
        """Replaces token_embeddings (B, T, width).

        Padding is zero, as is what lies before and behind a text alone: a text's vector does not depend on the texts
        beside it. (sentence-transformers lets the states of padding in.)
        """
        states = features["token_embeddings"]
        states = (states * features["attention_mask"].unsqueeze(-1).to(states.dtype)).transpose(1, 2)
        made = torch.cat([convolve(states) for convolve in self.convs], 1)
        return kept(features, token_embeddings=made.transpose(1, 2))


class LSTM(Module):
    """A recurrent network over token states.

    Args:
        embedding_dimension: width of a token state.
        hidden_dim: width of what it makes, in each direction.
        num_layers, dropout, bidirectional: as `torch.nn.LSTM` has them.
    """

    config_file_name: ClassVar[str] = "lstm_config.json"
    config_keys: ClassVar[Sequence[str]] = (
        "embedding_dimension", "hidden_dim", "num_layers", "dropout", "bidirectional",
    )  # fmt: skip
    config_key_renames: ClassVar[Mapping[str, str]] = _WIDTH

    def __init__(
        self,
        embedding_dimension: int | None = None,
        hidden_dim: int | None = None,
        num_layers: int = 1,
        dropout: float = 0,
        bidirectional: bool = True,
        **older_names: Any,
    ) -> None:
        super().__init__()
        width = older(_WIDTH, older_names, "LSTM").get("embedding_dimension", embedding_dimension)
        self.embedding_dimension = _needed(width, "embedding_dimension", "LSTM")
        self.hidden_dim = _needed(hidden_dim, "hidden_dim", "LSTM")
        self.num_layers, self.dropout, self.bidirectional = num_layers, dropout, bidirectional
        self.embeddings_dimension = self.hidden_dim * (2 if bidirectional else 1)
        self.encoder = nn.LSTM(
            self.embedding_dimension, self.hidden_dim, num_layers, dropout=dropout, bidirectional=bidirectional,
            batch_first=True,
        )  # fmt: skip

    def get_embedding_dimension(self) -> int:
        """Width of what it makes."""
        return self.embeddings_dimension

    def forward(self, features: Features, **options: Any) -> Features:
        """Replaces token_embeddings (B, T, width). Reads attention_mask, which must pad at the end."""
        lengths = features.get("sentence_lengths")
        if lengths is None:
            lengths = features["attention_mask"].sum(1)
        states = features["token_embeddings"]
        packed = nn.utils.rnn.pack_padded_sequence(
            states, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        made, _ = nn.utils.rnn.pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=states.shape[1]
        )
        return kept(features, token_embeddings=made)
