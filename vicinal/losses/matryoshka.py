"""A loss at several lengths of the embeddings, so that they can be cut short; and at several depths of the network."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.errors import TrainingWarning, UnsupportedModel
from vicinal.losses import citations
from vicinal.losses.base import Encode, Inputs, Loss, Value, full, summed, unwrapped
from vicinal.losses.features import Features
from vicinal.losses.others import Other, wrapped
from vicinal.similarity import normalize_embeddings

Weighting = Literal["uniform", "log", "linear"] | Callable[[int], float]


def shortened(embeddings: Tensor, dim: int) -> Tensor:
    """The first `dim` numbers of every embedding, scaled to length 1: (..., d) to (..., dim).

    Source: Kusupati et al. 2022, arXiv:2205.13147.

    Example:
        >>> shortened(torch.tensor([[3.0, 4.0, 12.0]]), 2)
        tensor([[0.6000, 0.8000]])
    """
    return normalize_embeddings(embeddings[..., :dim])


class _Wrapper(Loss):
    """A loss around another: the other checks, embeds (in mini-batches if it does so), and judges what it is given."""

    inputs = Inputs(("those",), more="of the loss")

    def __init__(self, model: Any, loss: nn.Module) -> None:
        super().__init__(model)
        self.loss = loss

    @property
    def inner(self) -> Loss | Other:
        """The other loss, with the steps of a `Loss`."""
        return wrapped(self.loss, self.model)

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        self.inner.check(columns, labels)

    def targets(self, columns: Sequence[Features], labels: Any) -> Any:
        return self.inner.targets(columns, labels)

    def encode(self, model: Any, features: Features) -> Tensor:
        return self.inner.encode(model, features)

    def embed_columns(self, columns: Sequence[Features], encode: Encode) -> list[Tensor]:
        return self.inner.embed_columns(columns, encode)

    def narrowed(self, targets: Any, dim: int) -> Any:
        return self.inner.narrowed(targets, dim)

    @property
    def uses_gradient_cache(self) -> bool:
        return bool(getattr(self.loss, "uses_gradient_cache", False))


class MatryoshkaLoss(_Wrapper):
    """Another loss at several lengths of the embeddings: their first 64, 128, ... numbers are embeddings too.

    sum_k w_k * loss(first d_k numbers, scaled to length 1). The texts are embedded once.

    Use: around any other loss, where users are to choose a length (`truncate_dim`) later.

    Source: Kusupati et al. 2022, arXiv:2205.13147

    Args:
        model: what to train; the same as of `loss`.
        loss: any loss, cached ones and users' own among them.
        matryoshka_dims: the lengths; the model's own should be one.
        matryoshka_weights: of each, 1 unless given.
        n_dims_per_step: train so many, drawn at random, in each step; -1 for all.

    Raises:
        ValueError: a length is not positive or exceeds the model's, or there are more or fewer weights.
    """

    config = "loss matryoshka_dims matryoshka_weights n_dims_per_step"
    citation = citations.MATRYOSHKA

    def __init__(
        self,
        model: Any,
        loss: nn.Module,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_dims_per_step: int = -1,
    ) -> None:
        super().__init__(model, loss)
        weights = [1.0] * len(matryoshka_dims) if matryoshka_weights is None else list(matryoshka_weights)
        _check(list(matryoshka_dims), weights, self.model.get_embedding_dimension())
        pairs = sorted(zip(matryoshka_dims, weights, strict=True), key=lambda pair: pair[0], reverse=True)
        self.matryoshka_dims = tuple(dim for dim, _ in pairs)
        self.matryoshka_weights = tuple(weight for _, weight in pairs)
        self.n_dims_per_step = n_dims_per_step

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Value:
        """The weighted sum of the other loss over lengths; embeddings and labels are as for that."""
        inner = self.inner
        drawn = _draw(range(len(self.matryoshka_dims)), self.n_dims_per_step)
        terms = []
        for i in sorted(drawn):
            dim = self.matryoshka_dims[i]
            short = [shortened(column, dim) for column in embeddings]
            terms.append(
                (self.matryoshka_weights[i], inner.compute_loss_from_embeddings(short, inner.narrowed(labels, dim)))
            )
        return summed(terms)


class AdaptiveLayerLoss(_Wrapper):
    """Another loss at several depths of the network, so that its last layers can be left out.

    w_last * loss(last layer) + w_prior * mean_l [w(l) * loss(layer l)] + w_kl * t * sum_l KL(softmax(e_last / t) ||
    softmax(e_l / t)), over layers l that are drawn anew in each step. The texts are embedded once.

    Use: around any other loss, where users are to choose a depth later: speed grows as layers go.

    Source: Li et al. 2024, arXiv:2402.14776

    Args:
        model: what to train; its first module holds a network of `transformers`.
        loss: any loss, cached ones and users' own among them.
        n_layers_per_step: train so many earlier layers, drawn at random, in each step; -1 for all.
        last_layer_weight, prior_layers_weight, kl_div_weight: w_last, w_prior, w_kl.
        kl_temperature: t; 0 leaves that part out.
        layer_weighting: w(l): "uniform" is 1, "linear" 1 / (1 + l), "log" 1 / (1 + log(1 + l)), or a function of l,
            which
            counts from 0, the token embeddings.

    Raises:
        ValueError: there is no such weighting.
        UnsupportedModel: the model's first module has no layers.
    """

    config = "loss n_layers_per_step last_layer_weight prior_layers_weight kl_div_weight kl_temperature layer_weighting"
    citation = citations.MATRYOSHKA_2D

    def __init__(
        self,
        model: Any,
        loss: nn.Module,
        n_layers_per_step: int = 1,
        last_layer_weight: float = 1.0,
        prior_layers_weight: float = 1.0,
        kl_div_weight: float = 1.0,
        kl_temperature: float = 0.3,
        layer_weighting: Weighting = "uniform",
    ) -> None:
        super().__init__(model, loss)
        if not callable(layer_weighting) and layer_weighting not in ("uniform", "log", "linear"):
            raise ValueError(
                f"layer_weighting must be 'uniform', 'log', 'linear' or a function of the layer, not "
                f"{layer_weighting!r}"
            )
        if not hasattr(self.model[0], "auto_model"):
            raise UnsupportedModel(
                f"AdaptiveLayerLoss needs a network with layers, but the model's first module is a "
                f"{type(self.model[0]).__name__}"
            )
        self.n_layers_per_step = n_layers_per_step
        self.last_layer_weight = last_layer_weight
        self.prior_layers_weight = prior_layers_weight
        self.kl_div_weight = kl_div_weight
        self.kl_temperature = kl_temperature
        self.layer_weighting = layer_weighting

    def get_layer_weight(self, layer_idx: int) -> float:
        """The weight of an earlier layer."""
        if callable(self.layer_weighting):
            return self.layer_weighting(layer_idx)
        weights = {"uniform": 1.0, "linear": 1 / (1 + layer_idx), "log": 1 / (1 + math.log(1 + layer_idx))}
        return weights[self.layer_weighting]

    def encode(self, model: Any, features: Features) -> Tensor:
        """The embeddings of some texts as every layer has them, (n, layers, d), the last one at the end."""
        modules = unwrapped(model)
        first, *rest = [modules[i] for i in range(len(modules))]
        with _all_layers(first.auto_model.config):
            out = model(dict(features))
        embeddings = []
        for states in out["all_layer_embeddings"][:-1]:
            made = {
                **{key: value for key, value in out.items() if key != "sentence_embedding"},
                "token_embeddings": states,
            }
            for module in rest:
                made = module(made)
            embeddings.append(made["sentence_embedding"])
        return full(torch.stack([*embeddings, out["sentence_embedding"]], 1))

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Value:
        """The weighted sum over layers of (n, layers, d) embeddings a column; labels are as for the other loss."""
        layers = [list(column.unbind(1)) for column in embeddings]
        *earlier, last = [[column[i] for column in layers] for i in range(len(layers[0]))]
        terms = [(self.last_layer_weight, self.inner.compute_loss_from_embeddings(last, labels))]
        drawn = _draw(range(len(earlier)), self.n_layers_per_step)
        for i in drawn:
            weight = self.get_layer_weight(i) / len(drawn) * self.prior_layers_weight
            terms.append((weight, self.inner.compute_loss_from_embeddings(earlier[i], labels)))
            if self.kl_temperature > 0:
                divergence = _divergence(torch.cat(earlier[i]), torch.cat(last), self.kl_temperature)
                terms.append((self.kl_temperature * self.kl_div_weight, _beside(terms[0][1], divergence)))
        return summed(terms)


class Matryoshka2dLoss(AdaptiveLayerLoss):
    """Another loss at several lengths of the embeddings and several depths of the network.

    The same as `AdaptiveLayerLoss` around `MatryoshkaLoss`.

    Use: around any other loss, where users are to choose both later.

    Source: Li et al. 2024, arXiv:2402.14776

    Args:
        model, loss: as there.
        matryoshka_dims, matryoshka_weights, n_dims_per_step: see `MatryoshkaLoss`.
        n_layers_per_step, ...: see `AdaptiveLayerLoss`.
    """

    def __init__(
        self,
        model: Any,
        loss: nn.Module,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_layers_per_step: int = 1,
        n_dims_per_step: int = 1,
        last_layer_weight: float = 1.0,
        prior_layers_weight: float = 1.0,
        kl_div_weight: float = 1.0,
        kl_temperature: float = 0.3,
        layer_weighting: Weighting = "uniform",
    ) -> None:
        super().__init__(
            model,
            MatryoshkaLoss(model, loss, matryoshka_dims, matryoshka_weights, n_dims_per_step),
            n_layers_per_step,
            last_layer_weight,
            prior_layers_weight,
            kl_div_weight,
            kl_temperature,
            layer_weighting,
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The settings of both; "loss" is the innermost."""
        return {**super().get_config_dict(), **self.loss.get_config_dict()}


def _check(dims: list[int], weights: list[float], width: int | None) -> None:
    if not dims or min(dims) < 1:
        raise ValueError(f"matryoshka_dims must be one or more positive lengths, not {dims}")
    if len(weights) != len(dims):
        raise ValueError(f"matryoshka_weights must be one a length: there are {len(weights)} for {len(dims)} lengths")
    if width is None:
        return
    if max(dims) > width:
        raise ValueError(f"matryoshka_dims {dims} exceed the model's {width} dimensions")
    if width not in dims:
        warnings.warn(
            f"matryoshka_dims {dims} leave out the model's own {width} dimensions, at which it is then not trained",
            TrainingWarning,
            stacklevel=3,
        )


def _draw(all_of: range, count: int) -> list[int]:
    return random.sample(all_of, count) if 0 < count < len(all_of) else list(all_of)


def _divergence(earlier: Tensor, last: Tensor, temperature: float) -> Tensor:
    """The mean over rows of KL(softmax(last / t) || softmax(earlier / t)); `last` is a constant."""
    wanted = (last.detach() / temperature).softmax(1)
    return F.kl_div((earlier / temperature).log_softmax(1), wanted, reduction="batchmean")


def _beside(value: Value, divergence: Tensor) -> Value:
    """The divergence in the form that the other loss's value has."""
    return {"kl_div": divergence} if isinstance(value, dict) else divergence


@contextmanager
def _all_layers(config: Any) -> Iterator[None]:
    """Have a network of `transformers` return every layer's states, for as long as it lasts."""
    before = config.output_hidden_states
    config.output_hidden_states = True
    try:
        yield
    finally:
        config.output_hidden_states = before
