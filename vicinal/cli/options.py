"""The options that commands share, and the model that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer


class Dtype(str, Enum):
    """Of the computation."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class Backend(str, Enum):
    """What computes."""

    auto = "auto"
    openvino = "openvino"
    onnx = "onnx"
    numpy = "numpy"


class Role(str, Enum):
    """What texts are to a model that treats queries and documents differently."""

    query = "query"
    document = "document"


class Truncation(str, Enum):
    """What happens when a text exceeds the model's length."""

    warn = "warn"
    error = "error"
    ignore = "ignore"


ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", show_default=False,
        help="Name or id on the hub, or a folder; without it, the small English model that comes with vicinal.",
    ),
]  # fmt: skip
DtypeOption = Annotated[
    Dtype,
    typer.Option(
        "--dtype", metavar="auto|float32|bfloat16|int8",
        help="Of the computation; auto is bfloat16 where the processor has it, else float32.",
    ),
]  # fmt: skip
BackendOption = Annotated[
    Backend,
    typer.Option("--backend", metavar="auto|openvino|onnx|numpy", help="What computes; auto takes the fastest."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, show_default=False, help="Processor threads; all without it."),
]
PromptName = Annotated[
    str | None,
    typer.Option(
        "--prompt-name", metavar="NAME", show_default=False,
        help="Put the model's prompt of this name before every text (vicinal info lists them).",
    ),
]  # fmt: skip
Prompt = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", show_default=False, help="Put this text before every text."),
]
RoleOption = Annotated[
    Role | None,
    typer.Option(
        "--as", metavar="query|document", show_default=False,
        help="Use the model's prompt and way for queries or for documents.",
    ),
]  # fmt: skip
TruncateDim = Annotated[
    int | None,
    typer.Option("--truncate-dim", metavar="N", min=1, show_default=False, help="Keep the first N dimensions."),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens", metavar="N", min=1, show_default=False,
        help="Padded tokens of a batch: what bounds the memory; without it, what suits the backend.",
    ),
]  # fmt: skip
TruncationOption = Annotated[
    Truncation,
    typer.Option(
        "--truncation", metavar="warn|error|ignore",
        help="What to do when a text is longer than the model's limit and loses its end.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class ModelOptions:
    """A model as the command line asks for it; see `SentenceTransformer`."""

    name: str | None
    dtype: Dtype
    backend: Backend
    threads: int | None
    truncate_dim: int | None = None

    def load(self) -> SentenceTransformer:
        """The model.

        Raises:
            VicinalError: it cannot be had. BadParameter: it has not so many dimensions.
        """
        from vicinal.sentence_transformer import SentenceTransformer

        model = SentenceTransformer(
            self.name,
            dtype=self.dtype.value,
            backend=self.backend.value,
            threads=self.threads,
            truncate_dim=self.truncate_dim,
        )
        if self.truncate_dim is not None and self.truncate_dim > model.spec.width:
            has = f"{model.name} has {model.spec.width} dimensions, not {self.truncate_dim}"
            raise typer.BadParameter(has, param_hint="--truncate-dim")
        return model


def check_prompt(model: SentenceTransformer, name: str | None, text: str | None) -> None:
    """A prompt is given by name or itself.

    Raises:
        BadParameter: both are given, or the model has none of that name.
    """
    if name is None:
        return
    if text is not None:
        raise typer.BadParameter("give --prompt or --prompt-name, not both", param_hint="--prompt")
    if name not in model.prompts:
        known = ", ".join(map(repr, model.prompts)) or "none"
        raise typer.BadParameter(
            f"{model.name} has no prompt named {name!r}; it has: {known}", param_hint="--prompt-name"
        )


def encoder(model: SentenceTransformer, role: Role | None) -> Callable[..., Any]:
    """The model's method that encodes texts of a role.

    Raises:
        BadParameter: the model has a way for each role and none for texts of no role.
    """
    if role is not None:
        return model.encode_query if role is Role.query else model.encode_document
    routes = model.spec.routes
    if len(routes) > 1 and model.spec.default_route not in routes:
        raise typer.BadParameter(f"{model.name} treats queries and documents differently: say which", param_hint="--as")
    return model.encode
