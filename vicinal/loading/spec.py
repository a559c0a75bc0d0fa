"""What a model is, as data: routes of modules, and how texts reach them. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


class NetworkConfig(Protocol):
    """What every network's configuration tells."""

    @property
    def vocab_size(self) -> int:
        """Tokens that have an embedding."""

    @property
    def type_vocab_size(self) -> int:
        """Segments of a pair that have an embedding; 0 where they have none."""

    @property
    def hidden_size(self) -> int:
        """Width of a token state."""

    @property
    def max_tokens(self) -> int | None:
        """Tokens that the position table allows, None when there is no limit."""


@dataclass(frozen=True)
class Chat:
    """How a pair becomes the chat that a language model judges.

    Attributes:
        template: Jinja's source, as the model's folder has it; `text.chat` renders it.
        marks: special tokens by the names that templates have for them.
        options: what the folder gives the template besides.
        structured: whether a message's content is a list of parts, not a text.
    """

    template: str = field(repr=False)
    marks: Mapping[str, str]
    options: Mapping[str, Any]
    structured: bool


@dataclass(frozen=True)
class Transformer:
    """A network that turns token ids into one vector a token.

    Attributes:
        architecture: the configuration's `model_type`.
        config: the whole `config.json`, kept for saving.
        network: what its network reads of it.
        chat: what pairs are put into, None where they are joined by the tokenizer.
    """

    architecture: str
    config: Mapping[str, Any] = field(repr=False, compare=False)
    network: NetworkConfig = field(repr=False)
    chat: Chat | None = field(default=None, repr=False)

    @property
    def uncounted(self) -> int | None:
        """The token that a text's positions leave out, of a network whose configuration has a `padding_idx`."""
        return getattr(self.network, "padding_idx", None)


@dataclass(frozen=True)
class StaticEmbedding:
    """One vector a token, averaged over the text's tokens."""

    tokens: int
    width: int


@dataclass(frozen=True)
class Pooling:
    """Token vectors to one vector a text; several modes are concatenated in the order of `POOLING_MODES`' names given.

    Attributes:
        width: of a token vector.
        modes: of POOLING_MODES.
        include_prompt: whether the prompt's own tokens count.
    """

    width: int
    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True)
class Dense:
    """activation(W x + b), plus x where `residual`; applied to the feature `source`, written to `target`."""

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "tanh"
    residual: bool = False
    source: str = "sentence_embedding"
    target: str = "sentence_embedding"


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation of the text vector, eps 1e-5."""

    width: int


@dataclass(frozen=True)
class Normalize:
    """Scale to length 1."""

    source: str = "sentence_embedding"
    target: str = "sentence_embedding"


@dataclass(frozen=True)
class Classifier:
    """Scores of a text or pair from its token states, by the head of its network's own making.

    Attributes:
        architecture: whose head.
        labels: scores a text.
        head: what the head reads of the configuration.
    """

    architecture: str
    labels: int
    head: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share of the text vector while training; nothing otherwise."""

    rate: float = 0.2


@dataclass(frozen=True)
class OtherNetwork:
    """What is known of an architecture that has no network here: torch runs it.

    Attributes:
        settings: the configuration as sorted JSON, which names the space.
        reason: why there is no network, for whoever has no torch.
    """

    vocab_size: int
    type_vocab_size: int
    hidden_size: int
    max_tokens: int | None
    settings: str = field(repr=False)
    reason: str = field(repr=False, compare=False)


@dataclass(frozen=True)
class Custom:
    """A module without a network form (LSTM, a user's own, ...): torch runs it.

    Attributes:
        kind: its class, as modules.json spells it.
        settings: its configuration as sorted JSON.
        width: of the text vector that it makes, None where it makes none.
        reason: why there is no network, for whoever has no torch.
        options: names that modules.json lists as keyword arguments of its own.
    """

    kind: str
    settings: str = field(default="{}", repr=False)
    width: int | None = None
    reason: str = field(default="", repr=False, compare=False)
    options: tuple[str, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class LogitScore:
    """The logit that a language model gives a token after the last one, less that of another token.

    Attributes:
        true_token, false_token: their numbers; None compares with nothing.
        tokens, width: of the matrix that logits are made with.
        tied: whether that is the table of words.
    """

    true_token: int
    false_token: int | None
    tokens: int = field(repr=False)
    width: int = field(repr=False)
    tied: bool = field(repr=False)


Module = (
    Transformer | StaticEmbedding | Pooling | Dense | LayerNorm | Normalize | Classifier | LogitScore | Dropout | Custom
)


@dataclass(frozen=True)
class Route:
    """A way from text to vector. Most models have one; a router has one for queries, one for documents, ...

    Attributes:
        modules: in order.
        folders: of each module, relative to the model's folder: its tensors are named under `"{folder}/"`, and the
            first one's tokenizer goes by it.
        max_length: tokens a text may have, special tokens counted; longer ones are cut. None is no limit.
    """

    modules: tuple[Module, ...]
    folders: tuple[str, ...]
    max_length: int | None
    width: int = field(init=False)
    """Dimensions of the text vector; labels of a classifier."""
    output: str = field(init=False)
    """What the last module makes: "sentence_embedding", or "scores"."""
    excludes_prompt: bool = field(init=False)
    """Whether some pooling leaves the prompt's tokens out."""

    def __post_init__(self) -> None:
        width = 0
        for module in self.modules:
            if isinstance(module, Pooling):
                width = module.width * len(module.modes)
            elif isinstance(module, StaticEmbedding):
                width = module.width
            elif isinstance(module, Dense) and module.target == "sentence_embedding":
                width = module.out_features
            elif isinstance(module, Classifier):
                width = module.labels
            elif isinstance(module, Custom):
                width = module.width or width
            elif isinstance(module, LogitScore):
                width = 1
        object.__setattr__(self, "width", width)
        scores = isinstance(self.modules[-1], (Classifier, LogitScore))
        object.__setattr__(self, "output", "scores" if scores else "sentence_embedding")
        excludes = any(isinstance(module, Pooling) and not module.include_prompt for module in self.modules)
        object.__setattr__(self, "excludes_prompt", excludes)

    @property
    def needs_torch(self) -> str:
        """Why torch alone can run it; "" where a network does."""
        for module in self.modules:
            if isinstance(module, Custom):
                return module.reason
            if isinstance(module, Transformer) and isinstance(module.network, OtherNetwork):
                return module.network.reason
        return ""


@dataclass(frozen=True)
class Spec:
    """A model without its weights: everything that decides what a text's vector is, and the user's settings.

    Setters on the model replace the whole spec, so that a call works with one from beginning to end.

    Attributes:
        routes: by task name; a model without a router has one, named "".
        default_route: taken when the task names none.
        prompts: prefixes by name.
        default_prompt_name: the prompt of a plain `encode`.
        similarity_fn_name: how this model's vectors are compared.
        truncate_dim: how many leading dimensions are kept, None all.
        activation: dotted name of the function that a cross-encoder's scores go through.
    """

    routes: Mapping[str, Route]
    default_route: str | None = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str = "cosine"
    truncate_dim: int | None = None
    activation: str | None = None
    only: Route | None = field(init=False)
    """The route of a model that has one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", next(iter(self.routes.values())) if len(self.routes) == 1 else None)

    def route(self, task: str | None) -> Route:
        """The route of a task.

        Raises:
            ValueError: a model with several routes has none of that name and no default.
        """
        if self.only is not None:
            return self.only
        name = self.default_route if task is None else task
        if name is None or name not in self.routes:
            raise ValueError(
                f"this model has a route for each of {', '.join(self.routes)}, none for task={task!r}: "
                "encode(..., task=...) takes one of them"
            )
        return self.routes[name]

    @property
    def width(self) -> int:
        """Dimensions of the text vector before `truncate_dim`."""
        return next(iter(self.routes.values())).width
