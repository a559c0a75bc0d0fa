"""A network of `transformers` with its classification head: scores of texts and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vicinal import networks
from vicinal.backends.torch.auto import CLASSIFIER, auto_model
from vicinal.errors import UnsupportedModel
from vicinal.loading import spec
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.loading.weights import Tensor
from vicinal.models.module import Features, kept
from vicinal.models.transformer import Transformer
from vicinal.models.vocabulary import Vocabulary


class SequenceClassifier(Transformer):
    """Adds scores (B, labels): what the network's own head makes of a text or pair."""

    def _set_up(
        self, form: spec.Transformer, tensors: Mapping[str, Tensor], file: TokenizerFile, root: Path | None,
        trusted: bool, model_kwargs: Mapping[str, Any],
    ) -> None:  # fmt: skip
        nn.Module.__init__(self)
        head = networks.classifying(form.architecture)
        if head is None:
            raise UnsupportedModel(f"{root}: {form.architecture!r} has no classification head here")
        named = {n if n.startswith(head.HEAD) else head.PREFIX + n: t for n, t in tensors.items()}
        options = {key: value for key, value in model_kwargs.items() if key != "dtype"}
        dtype = model_kwargs.get("dtype", "float32")
        self.model = auto_model(
            form.config, named, dtype, root=root, trust_remote_code=trusted, task=CLASSIFIER, **options
        )
        self._vocabulary = Vocabulary(file, form.config)
        self._stated = dict(form.config)

    @property
    def num_labels(self) -> int:
        """Scores of a pair."""
        return int(self.model.config.num_labels)

    def head(self) -> spec.Classifier:
        """The head as data."""
        config = self._described()
        found = networks.classifying(str(config["model_type"]))
        assert found is not None
        return spec.Classifier(str(config["model_type"]), self.num_labels, found.parse_head(config))

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds scores (B, labels)."""
        given = {name: features[name] for name in self._arguments() if name in features}
        return kept(features, scores=self.model(**given, **options, return_dict=True).logits)

    def tensors(self) -> dict[str, Tensor]:
        """The present weights, by the names that networks read: the body's without its prefix."""
        head = networks.classifying(str(self.model.config.model_type))
        assert head is not None
        return {
            (name if name.startswith(head.HEAD) else name.removeprefix(head.PREFIX)): replace(tensor)
            for name, tensor in super().tensors().items()
        }
