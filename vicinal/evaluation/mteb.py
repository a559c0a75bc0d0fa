"""The tasks of the Massive Text Embedding Benchmark, by its own package `mteb`, on a model as it is.

Source: Muennighoff et al. 2022, arXiv:2210.07316; https://github.com/embeddings-benchmark/mteb
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vicinal.errors import InvalidData
from vicinal.extras import require

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer

_PURPOSE = "evaluating on the tasks of mteb"


class MtebEncoder:
    """A model in the form that mteb calls (its `EncoderProtocol`), for `mteb.evaluate`; the model is not changed.

    Queries and documents are encoded as such, with the model's own prompts. A prompt that the model has for a task or a
    kind of task goes first, in mteb's order: "SciFact-query", "SciFact", "Retrieval-query", "Retrieval".

    Args:
        model: that encodes.
        options: of its `encode`; batches are as suit the backend, whatever batch size mteb asks for.
    """

    def __init__(self, model: SentenceTransformer, **options: Any) -> None:
        self.model = model
        self._options = options

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The (n, dims) vectors of batches of texts, each batch a mapping with "text"."""
        texts = [text for batch in inputs for text in batch["text"]]
        role = getattr(prompt_type, "value", prompt_type)
        roles: dict[Any, Any] = {"query": self.model.encode_query, "document": self.model.encode_document}
        encode = roles.get(role, self.model.encode)
        names = [
            name
            for stem in (task_metadata.name, task_metadata.type)
            for name in ((f"{stem}-{role}", stem) if role else (stem,))
        ]
        name = next((name for name in names if self.model.prompts.get(name) is not None), None)
        options = {key: value for key, value in kwargs.items() if key != "batch_size"} | self._options
        return encode(texts, batch_size=None, prompt_name=name, **options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The model's own similarity, of every vector with every other."""
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The same, of rows."""
        return self.model.similarity_pairwise(embeddings1, embeddings2)

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What mteb files its results under: the model's name, and its commit or else its fingerprint."""
        require("mteb", _PURPOSE)
        from mteb.models.model_meta import ModelMeta

        model = self.model
        name = model.name.replace("\\", "/").strip("/")
        overwrites = {
            "name": name
            if name.count("/") == 1 and model._located.source != "folder"
            else f"local/{name.split('/')[-1]}",
            "revision": model._located.revision or model.fingerprint,
            "embed_dim": model.get_embedding_dimension(),
            "max_tokens": model.max_seq_length,
        }
        return ModelMeta.create_empty(overwrites)


def evaluate_mteb(
    model: SentenceTransformer,
    tasks: Sequence[Any],
    output_folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[Any]:
    """Run tasks of mteb on a model.

    Args:
        model: that is measured.
        tasks: names ("SciFact"), or tasks of your own (`mteb.AbsTask`).
        output_folder: where results are written, in mteb's form; None is nowhere.
        options: of the model's `encode`.

    Returns:
        mteb's `TaskResult` of each task: `task_name`, `scores` by split, `get_score()`, `to_dict()`.

    Raises:
        MissingExtra: mteb is not installed.
        InvalidData: mteb has no task of a name.
    """
    mteb: Any = require("mteb", _PURPOSE)
    cache = None if output_folder is None else mteb.ResultCache(output_folder)
    found = [_task(mteb, task) if isinstance(task, str) else task for task in tasks]
    done = mteb.evaluate(
        MtebEncoder(model, **options), found, cache=cache, overwrite_strategy="always", show_progress_bar=False
    )
    return list(done.task_results)


def _task(mteb: Any, name: str) -> Any:
    try:
        return mteb.get_task(name)
    except KeyError as error:
        raise InvalidData(f"mteb has no task {name!r}; mteb.get_tasks() lists those that it has") from error
