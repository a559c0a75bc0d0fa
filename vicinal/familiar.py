"""Members that users of sentence-transformers know, beside those of `Model`: small, and by the same names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vicinal.extras import require

if TYPE_CHECKING:
    from typing_extensions import Self


class Familiar:
    """What a model says of itself, and older names of what it does."""

    default_huggingface_organization: ClassVar[str | None] = "sentence-transformers"
    """Whose models a bare name means."""

    @property
    def model_type(self) -> str:
        """The name of its class, as its folder has it."""
        return type(self).__name__

    @property
    def modalities(self) -> list[str]:
        """The kinds of input that it reads."""
        return ["text"]

    def supports(self, modality: Any) -> bool:
        """Whether it reads a kind of input: "text" alone."""
        return modality in self.modalities

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether this is one text, not a batch of them."""
        return isinstance(inputs, (str, Mapping))

    def get_model_kwargs(self) -> list[str]:
        """Names of keyword arguments that `encode` hands on to torch modules; none where something else computes."""
        module = getattr(self, "_torch", None)
        return [] if module is None else sorted(module.module.options())

    @property
    def processor(self) -> Any:
        """The tokenizer of `transformers` that is the torch modules' own."""
        return self[0].tokenizer  # type: ignore[index]

    @classmethod
    def load(cls, input_path: str | os.PathLike[str]) -> Self:
        """The older way to load a folder."""
        return cls(input_path)  # type: ignore[call-arg]

    def get_sentence_features(self, *features: Any) -> Any:
        """The first module's, of modules that have it (`BoW`)."""
        return self[0].get_sentence_features(*features)  # type: ignore[index]

    def smart_batching_collate(self, batch: Sequence[Any]) -> tuple[Any, Any]:
        """Features of each column and labels of `InputExample`s: a DataLoader's `collate_fn`, for one's own loop."""
        torch = require("torch", "smart_batching_collate()")
        module = self.trainable()  # type: ignore[attr-defined]
        columns = zip(*(example.texts for example in batch), strict=True)
        labels = [example.label for example in batch]
        arrays = labels and isinstance(labels[0], np.ndarray)
        features = [module.preprocess(list(column)) for column in columns]
        return features, torch.from_numpy(np.stack(labels)) if arrays else torch.tensor(labels)

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | os.PathLike[str] | None = None) -> Any:
        """What an evaluator says of this model; files go to `output_path`."""
        if output_path is not None:
            os.makedirs(output_path, exist_ok=True)
        return evaluator(self, None if output_path is None else str(output_path))
