"""A loaded model's settings and what is done with it as a whole: read, changed, saved, copied, named."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from vicinal import arguments
from vicinal.engine import Engine
from vicinal.errors import UnsupportedModel
from vicinal.loading.fingerprint import Stamps, fingerprint
from vicinal.loading.locate import Located
from vicinal.loading.opening import with_max_length
from vicinal.loading.save import save_model
from vicinal.loading.spec import Pooling, Route, Spec
from vicinal.similarity import SimilarityFunction
from vicinal.text.inputs import read
from vicinal.text.tokens import padded

if TYPE_CHECKING:
    from typing_extensions import Self

_CHANGING = threading.Lock()
"""Held while a spec is replaced, so that two threads' changes are both kept."""


class Model:
    """What every kind of model has. Setters replace the frozen spec, so that a call under way is not disturbed."""

    def __init__(self, engine: Engine, spec: Spec, located: Located) -> None:
        self._engine, self._spec, self._located = engine, spec, located
        self._stamps: Stamps | None = Stamps.of(engine.parts)
        self._spaces: dict[tuple[str, ...], tuple[Engine, Route, str]] = {}
        self.name = located.name

    # ---- settings ----------------------------------------------------------------------------------------------

    @property
    def prompts(self) -> dict[str, str]:
        """Prompts by name: a copy; assign to change them."""
        return dict(self._spec.prompts)

    @prompts.setter
    def prompts(self, prompts: Mapping[str, str | None]) -> None:
        self._change(prompts={name: prompt or "" for name, prompt in prompts.items()})

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt of a plain `encode`."""
        return self._spec.default_prompt_name

    @default_prompt_name.setter
    def default_prompt_name(self, name: str | None) -> None:
        if name is not None and name not in self._spec.prompts:
            known = ", ".join(map(repr, self._spec.prompts))
            raise ValueError(f"default_prompt_name={name!r} is none of this model's prompts ({known})")
        self._change(default_prompt_name=name)

    @property
    def similarity_fn_name(self) -> str:
        """ "cosine", "dot", "euclidean" or "manhattan"."""
        return self._spec.similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str | SimilarityFunction) -> None:
        self._change(similarity_fn_name=SimilarityFunction(name).value)

    @property
    def truncate_dim(self) -> int | None:
        """How many leading dimensions are kept; None is all."""
        return self._spec.truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, dims: int | None) -> None:
        self._change(truncate_dim=arguments.dims(dims))

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside `with`, vectors have so many leading dimensions."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    @property
    def max_seq_length(self) -> int | None:
        """Tokens a text may have, special tokens counted; None is no limit. Of a router, that of the first route."""
        return next(iter(self._spec.routes.values())).max_length

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        self._each_route(lambda route: with_max_length(route, length))

    def get_max_seq_length(self) -> int | None:
        """The same as `max_seq_length`."""
        return self.max_seq_length

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether the prompt's own tokens count in pooling (INSTRUCTOR models leave them out)."""
        self._each_route(
            lambda route: replace(
                route,
                modules=tuple(
                    replace(m, include_prompt=include_prompt) if isinstance(m, Pooling) else m for m in route.modules
                ),
            )
        )

    def _each_route(self, change: Callable[[Route], Route]) -> None:
        with _CHANGING:
            routes = {task: change(route) for task, route in self._spec.routes.items()}
            self._spec = replace(self._spec, routes=routes)

    def _change(self, **settings: Any) -> None:
        with _CHANGING:
            self._spec = replace(self._spec, **settings)

    def get_embedding_dimension(self) -> int:
        """Dimensions of a vector, `truncate_dim` respected."""
        return min(self._spec.truncate_dim or self._spec.width, self._spec.width)

    get_sentence_embedding_dimension = get_embedding_dimension

    @property
    def backend(self) -> str:
        """What really runs: "openvino", "onnx", or "numpy" for static models."""
        return self._engine.choice.backend

    def get_backend(self) -> str:
        """The same as `backend`."""
        return self.backend

    @property
    def dtype(self) -> str:
        """Of the computation, as it really is."""
        return self._engine.choice.dtype

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu"

    @property
    def spec(self) -> Spec:
        """Everything that decides what a text's vector is."""
        return self._spec

    # ---- tokens ------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """A copy of the model's `tokenizers.Tokenizer`; changing it does not change the model."""
        return copy.deepcopy(self._engine.tokenizer(self._spec.route("query")).backend)

    def tokenize(self, texts: Any, prompt: str | None = None, **options: Any) -> dict[str, NDArray[Any]]:
        """The network's inputs for texts: input_ids, attention_mask and token_type_ids, (texts, longest) int64."""
        spec = self._spec
        rows, _, _, task = read(spec, texts, prompt or "", None, options.pop("task", None))
        if options:
            raise TypeError(f"tokenize() got unknown arguments: {', '.join(options)}")
        route = spec.route(task)
        return padded(self._engine.tokenizer(route)(rows, route.max_length))

    preprocess = tokenize

    # ---- keeping -----------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Names this embedding space: tensors, tokenizer, pooling, normalisation, length limit and dimensions.

        The same on every machine and backend; prompts are no part of it.
        """
        return fingerprint(self._spec, self._engine, self._stamps)

    def _space(self, route: Route) -> str:
        """The fingerprint of one route at its full width, computed once."""
        known = self._spaces.get(route.folders)
        if known is None or known[0] is not self._engine or known[1] != route:
            known = self._engine, route, fingerprint(Spec({"": route}), self._engine, self._stamps)
            self._spaces[route.folders] = known
        return known[2]

    def save(
        self,
        path: str | os.PathLike[str],
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write a folder that vicinal and sentence-transformers load alike, settings included.

        Written beside and swapped in: a folder that is there stays whole until the new one is.

        Raises:
            UnsupportedModel: safe_serialization=False asks for a pickle, which is not written.
        """
        if not safe_serialization:
            raise UnsupportedModel("safe_serialization=False asks for a pickled file; vicinal writes safetensors only")
        card = (model_name or self.name, list(train_datasets or ())) if create_model_card else None
        save_model(Path(path), self._spec, self._engine.saved_parts(), self._located.folder, card)

    save_pretrained = save

    def close(self) -> None:
        """Let go of the graphs and the weights, those of copies too; `with` does it by itself."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)  # specs are replaced, never changed; the engine serves any number of them
        for name, value in vars(self).items():
            if name not in ("_engine", "_spec", "_located", "_stamps", "_spaces", "_cache"):
                setattr(twin, name, copy.deepcopy(value, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {
            **vars(self),
            "_stamps": None,
            "_spaces": {},
        }  # the tensors travel with the pickle: no file speaks for them

    def __repr__(self) -> str:
        modules = "".join(
            f"\n  {f'{task}: ' if task else ''}{module}"
            for task, route in self._spec.routes.items()
            for module in route.modules
        )
        limit = self.max_seq_length
        return (
            f"{type(self).__name__}({self.name!r} from {self._located.source}, backend={self.backend!r}, "
            f"dtype={self.dtype!r}, device='cpu', threads={self._engine.choice.threads}, "
            f"dims={self.get_embedding_dimension()}, max_seq_length={limit}){modules}"
        )
