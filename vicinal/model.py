"""A loaded model's settings and what is done with it as a whole: read, changed, saved, copied, named."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vicinal import arguments, report
from vicinal.adapters import Adapters
from vicinal.cards import ModelCardData
from vicinal.engine import Engine
from vicinal.errors import UnsupportedModel
from vicinal.familiar import Familiar
from vicinal.loading.fingerprint import Stamps, fingerprint
from vicinal.loading.locate import Located
from vicinal.loading.opening import with_max_length
from vicinal.loading.publish import Target, publish
from vicinal.loading.save import save_model
from vicinal.loading.spec import Pooling, Route, Spec
from vicinal.similarity import SimilarityFunction
from vicinal.text.inputs import read
from vicinal.text.tokens import padded

if TYPE_CHECKING:
    from typing_extensions import Self

_CHANGING = threading.Lock()
"""Held while a spec is replaced, so that two threads' changes are both kept."""


class Model(Familiar, Adapters):
    """What every kind of model has. Setters replace the frozen spec, so that a call under way is not disturbed.

    Attributes:
        model_card_data: what its card says; of `model_card_data_class`.
    """

    model_card_data_class: ClassVar[type[ModelCardData]]
    model_card_data: Any

    def __init__(self, engine: Engine, spec: Spec, located: Located) -> None:
        self._engine, self._spec, self._located = engine, spec, located
        self._torch: Any = engine if engine.choice.backend == "torch" else None
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
        self._settle()
        return next(iter(self._spec.routes.values())).max_length

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        def change(module: Any) -> None:
            for route in module.ways().values():
                if hasattr(route[0], "max_seq_length"):
                    route[0].max_seq_length = length

        self._follow(change)
        self._each_route(lambda route: with_max_length(route, length))

    def get_max_seq_length(self) -> int | None:
        """The same as `max_seq_length`."""
        return self.max_seq_length

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether the prompt's own tokens count in pooling (INSTRUCTOR models leave them out)."""

        def change(torch_module: Any) -> None:
            for module in torch_module.modules():
                if hasattr(module, "include_prompt"):
                    module.include_prompt = include_prompt

        self._follow(change)
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
        """What really runs: "openvino", "onnx", "numpy" for static models, "torch" while the model is being trained."""
        self._settle()
        return self._engine.choice.backend

    def get_backend(self) -> str:
        """The same as `backend`."""
        return self.backend

    @property
    def dtype(self) -> str:
        """Of the computation, as it really is."""
        self._settle()
        return self._engine.choice.dtype

    @property
    def device(self) -> Any:
        """Where it runs: "cpu", or a torch.device while torch computes."""
        return self._torch.module.device if self._by_torch else "cpu"

    @property
    def spec(self) -> Spec:
        """Everything that decides what a text's vector is."""
        self._settle()
        return self._spec

    # ---- tokens ------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """A copy of the model's `tokenizers.Tokenizer`; changing it does not change the model.

        While torch computes, that of `transformers`, which is the model's own.
        """
        if self._by_torch:
            return self._torch.module.tokenizer
        return copy.deepcopy(self._engine.tokenizer(self._spec.route("query")).backend)

    def tokenize(self, texts: Any, prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """The network's inputs for texts: input_ids, attention_mask and token_type_ids, (texts, longest) int64.

        Arrays; tensors as the torch modules take them, once there are some.
        """
        if self._torch is not None:
            return self._modules_().preprocess(texts, prompt=prompt, **options)  # type: ignore[no-any-return]
        spec = self._spec
        rows, _, _, task = read(spec, texts, prompt or "", None, options.pop("task", None))
        if options:
            raise TypeError(f"tokenize() got unknown arguments: {', '.join(options)}")
        route = spec.route(task)
        return padded(self._engine.tokenizer(route)(rows, route.max_length))

    def preprocess(self, inputs: Any, prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """The newer name of `tokenize`."""
        return self.tokenize(inputs, prompt, **options)

    # ---- keeping -----------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Names this embedding space: tensors, tokenizer, pooling, normalisation, length limit and dimensions.

        The same on every machine and backend; prompts are no part of it.
        """
        self._settle()
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
        _only_safetensors(safe_serialization)
        self._settle()
        card = self._card(model_name, train_datasets or ()) if create_model_card else None
        save_model(Path(path), self._spec, self._engine.saved_parts(), self._located.folder, card)

    save_pretrained = save

    def push_to_hub(
        self,
        repo_id: str,
        token: str | bool | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str | None = None,
        local_model_path: str | os.PathLike[str] | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Save the model and send it to the hub (`HF_ENDPOINT` names another), in one commit.

        Args:
            repo_id: "organisation/name", or "name" for the account of the token; made where it is not there.
            token: of the hub; None is HF_TOKEN or the saved one.
            private: whether a new repository is; None is the organisation's default.
            safe_serialization: True; pickles are not written.
            commit_message: of the commit, the title of a pull request too.
            local_model_path: a folder that is sent as it is, instead of this model.
            exist_ok: send to a repository that is there already.
            replace_model_card: also where the repository has a README.md, which otherwise stays.
            train_datasets: ids of data sets, for the card.
            revision: a branch, made where it is not there.
            create_pr: propose the commit instead of making it.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            PublishingFailed: the hub refuses or cannot be reached; the message says why, and what to do.
        """
        _only_safetensors(safe_serialization)
        kind = type(self).__name__

        def write(folder: Path, name: str, has_card: bool) -> None:
            twin = copy.copy(self)
            twin.model_card_data = copy.copy(self.model_card_data)
            twin.model_card_data.model_id = name
            twin.save(folder, name, replace_model_card or not has_card, train_datasets)

        message = commit_message or f"Add a {kind}"
        target = Target(repo_id, token, private, exist_ok, revision, create_pr, message)
        return publish(target, write, local_model_path)

    def save_to_hub(
        self,
        repo_id: str | None = None,
        organization: str | None = None,
        token: str | bool | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str = "Add new model.",
        local_model_path: str | os.PathLike[str] | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        *,
        repo_name: str | None = None,
    ) -> str:
        """The older name of `push_to_hub`; `organization` and `repo_name` are together its `repo_id`."""
        report.warn("save_to_hub is an older name; use push_to_hub", DeprecationWarning)
        name = repo_name if repo_id is None else repo_id
        if name is None:
            raise TypeError("save_to_hub() needs repo_id")
        if organization is not None:
            if "/" in name and not name.startswith(f"{organization}/"):
                raise ValueError(f"repo_id={name!r} is not of organization={organization!r}; leave organization out")
            name = f"{organization}/{name.rpartition('/')[2]}"
        return self.push_to_hub(
            name, token, private, safe_serialization, commit_message, local_model_path, exist_ok, replace_model_card,
            train_datasets,
        )  # fmt: skip

    def _card(self, model_name: str | None, train_datasets: Sequence[str]) -> tuple[str, bool]:
        """The card's text, and whether the card that the model came with stays where it has one."""
        if not isinstance(self.model_card_data, ModelCardData):
            wished, given = self.model_card_data_class.__name__, type(self.model_card_data).__name__
            raise TypeError(f"model_card_data must be a {wished}, not {given}")
        card = copy.copy(self.model_card_data)
        card.train_datasets = [*card.train_datasets, *({"id": name} for name in train_datasets)]
        card.model_name = card.model_name or model_name
        card.register_model(self)
        return card.render(), not self.model_card_data.says_something

    def close(self) -> None:
        """Let go of the graphs and the weights, those of copies too; `with` does it by itself."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        self._settle()
        twin = copy.copy(self)  # specs are replaced, never changed; the engine serves any number of them
        for name, value in vars(self).items():
            if name not in ("_engine", "_spec", "_located", "_stamps", "_spaces", "_cache", "_torch"):
                setattr(twin, name, copy.deepcopy(value, memo))
        self._copy_torch(twin)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {
            **vars(self),
            "_stamps": None,
            "_spaces": {},
        }  # the tensors travel with the pickle: no file speaks for them

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._seen is not None:
            self._seen = self._torch.module.version()

    @property
    def _size(self) -> str:
        return f"dims={self.get_embedding_dimension()}"

    def __repr__(self) -> str:
        self._settle()
        modules = "".join(
            f"\n  {f'{task}: ' if task else ''}{module}"
            for task, route in self._spec.routes.items()
            for module in route.modules
        )
        limit = self.max_seq_length
        return (
            f"{type(self).__name__}({self.name!r} from {self._located.source}, backend={self.backend!r}, "
            f"dtype={self.dtype!r}, device={str(self.device)!r}, threads={self._engine.choice.threads}, "
            f"{self._size}, max_seq_length={limit}){modules}"
        )


def _only_safetensors(safe_serialization: bool) -> None:
    if not safe_serialization:
        raise UnsupportedModel("safe_serialization=False asks for a pickled file; vicinal writes safetensors only")
