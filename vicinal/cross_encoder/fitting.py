"""The older way to train a cross-encoder, by its older arguments; and what a model of scores does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from vicinal.extras import require

VECTORS_ALONE = (
    "encode", "encode_query", "encode_document", "similarity", "similarity_pairwise", "similarity_fn_name",
    "truncate_dim", "truncate_embeddings", "truncate_sentence_embeddings", "set_pooling_include_prompt",
    "get_embedding_dimension", "get_sentence_embedding_dimension", "cache",
)  # fmt: skip
"""What only a model of vectors has."""


class OfVectorsAlone:
    """Stands where a model of vectors has a member that a model of scores has not: it cannot be read or set."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, kind: type[Any] | None = None) -> NoReturn:
        raise AttributeError(refusal(self.name))

    def __set__(self, model: Any, value: Any) -> NoReturn:
        raise AttributeError(refusal(self.name))


def refusal(name: str) -> str:
    """What an error says of such a member."""
    return f"a CrossEncoder gives scores of pairs, not vectors, and has no {name}; a SentenceTransformer has"


class Fitting:
    """Training as versions before 4 of sentence-transformers had it, on the trainer of today."""

    def fit(
        self,
        train_dataloader: Any,
        evaluator: Any = None,
        epochs: int = 1,
        loss_fct: Any = None,
        activation_fct: Any = None,
        scheduler: str = "WarmupLinear",
        warmup_steps: int = 10000,
        optimizer_class: Any = None,
        optimizer_params: Mapping[str, Any] | None = None,
        weight_decay: float = 0.01,
        evaluation_steps: int = 0,
        output_path: Any = None,
        save_best_model: bool = True,
        max_grad_norm: float = 1,
        use_amp: bool = False,
        callback: Callable[[Any, int, int], None] | None = None,
        show_progress_bar: bool = True,
    ) -> None:
        """Train on a DataLoader of `InputExample`; the fast form is built at the end.

        Args:
            train_dataloader: gives examples with two texts and a label each.
            evaluator: run after each epoch, and every `evaluation_steps` steps where these are not 0.
            epochs: passes over the data.
            loss_fct: a function of (logits, labels), such as `torch.nn.MSELoss()`; or one of
                `vicinal.cross_encoder.losses`. None is binary cross-entropy for one label, else cross-entropy.
            activation_fct: what logits go through before the loss; None is nothing.
            scheduler: "constantlr", "warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts".
            warmup_steps: over which the rate rises.
            optimizer_class, optimizer_params: AdamW at 2e-5 where not given.
            weight_decay: of all parameters but biases and norms.
            output_path: where the model is saved: the best by the evaluator with `save_best_model`, else the last.
            max_grad_norm: longer gradients are scaled down to it.
            use_amp: mixed precision: float16 on a GPU, bfloat16 on a processor.
            callback: called with (score, epoch, steps) after each evaluation.
            show_progress_bar: whether to show one.

        Raises:
            MissingExtra: the extra "train" is not installed. InvalidData: the examples do not fit the loss.
            ValueError: there is no such scheduler, or a loss of `vicinal.cross_encoder.losses` is given an
                activation, which it has of its own.
        """
        options = {name: value for name, value in locals().items() if name != "self"}
        require("train", "fit()")
        require("train", "fit()", "accelerate")
        import_module("vicinal.training.cross_encoder").fit_pairs(self, **options)

    old_fit = fit

    def smart_batching_collate(self, batch: Sequence[Any]) -> tuple[dict[str, Any], Any]:
        """Features and labels of `InputExample`s, as a DataLoader's `collate_fn` for a loop of one's own.

        Labels are float32 for a model of one label, int64 (classes) for one of several.
        """
        torch = require("torch", "smart_batching_collate()")
        features = self.smart_batching_collate_text_only([example.texts for example in batch])
        kind = torch.float32 if self.num_labels == 1 else torch.int64  # type: ignore[attr-defined]
        return features, torch.tensor([example.label for example in batch], dtype=kind, device=self.device)  # type: ignore[attr-defined]

    def smart_batching_collate_text_only(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Features of pairs of texts."""
        module = self.trainable()  # type: ignore[attr-defined]
        features = module.preprocess([tuple(text.strip() for text in texts) for texts in batch])
        return {name: value.to(module.device) for name, value in features.items()}
