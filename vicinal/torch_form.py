"""The trainable side of a model: its torch modules, and which of the two forms computes vectors.

A model has one truth. Once `trainable()` was asked for, that is the torch modules: vectors come from them until
`refresh()` builds the fast form from their weights. A weight or setting that is changed afterwards makes them the truth
again.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal import refused
from vicinal.backends import Choice, available_threads, choose
from vicinal.engine import Engine
from vicinal.errors import UnsupportedModel
from vicinal.extras import require
from vicinal.loading.fingerprint import Stamps
from vicinal.loading.locate import Located
from vicinal.loading.modules import Parts
from vicinal.loading.opening import Opened
from vicinal.loading.spec import Spec

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("vicinal")


def made(parts: Parts, choice: Choice, checked: bool) -> Engine:
    """The engine of a model that was read."""
    if choice.backend != "torch":
        return Engine(parts, choice, checked=checked)
    require("transformers", 'backend="torch"')
    from vicinal.torch_engine import TorchEngine

    return TorchEngine(parts, choice)


def built(modules: Any) -> tuple[Opened, Engine]:
    """A model of modules that a user put together.

    Raises:
        ValueError: there are none. MissingExtra: torch is not installed.
    """
    require("torch", "SentenceTransformer(modules=...)")
    require("transformers", "SentenceTransformer(modules=...)")
    modules = list(modules.values()) if isinstance(modules, Mapping) else modules
    if not isinstance(modules, (list, tuple)) or not modules:
        raise ValueError(f"modules must be a list of torch modules, at least one, not {modules!r}")
    from vicinal.models.trainable import Trainable, forms
    from vicinal.torch_engine import TorchEngine

    module = Trainable(*modules)
    routes = forms(module)
    first = modules[0]
    default = "" if "" in routes else getattr(first, "default_route", None)
    spec = Spec(routes, default)
    module.eval()
    engine = TorchEngine(module, Choice("torch", "float32", available_threads()), spec)
    nowhere = Path(os.devnull) / "modules"
    return Opened(engine.parts, Located(nowhere, "modules", "folder", None), {}), engine


class TorchForm:
    """What a model does as a torch module: `model[0]`, `model.parameters()`, `model(features)`, `model.to("cuda")`."""

    _engine: Engine
    _spec: Spec
    _stamps: Stamps | None
    _torch: Any = None
    """The engine over the torch modules, once there are some."""
    _seen: Any = None
    """The weights' version when the fast form was built from them; None while torch is the truth."""
    _wish: tuple[str, object, int | None, Mapping[str, Any] | None, object] = ("auto", "auto", None, None, None)
    name: str

    def trainable(self) -> Any:
        """The model as one `torch.nn.Module`, made once; from now on its parameters are the truth.

        Raises:
            MissingExtra: torch or transformers is not installed.
        """
        module = self._modules_()
        if self._seen is not None or self._engine is not self._torch:
            self._take_torch()
        return module

    def refresh(self) -> Self:
        """Build the fast form from the torch modules' weights: the backend and dtype that the model was loaded with.

        Where only torch can run the modules, they stay what computes.
        """
        if self._torch is None:
            return self
        self._settle()
        spec = self._torch.settle(self._spec)
        choice = choose(spec, *self._wish)
        if choice.backend == "torch":
            return self
        self._use(Engine(self._torch.saved_parts(), choice, checked=False), spec)
        self._seen = self._torch.module.version()
        return self

    def _modules_(self) -> Any:
        """The torch modules, made where there are none yet; the fast form stays in use."""
        self._settle()
        if self._torch is None:
            require("torch", "a model's torch modules")
            require("transformers", "a model's torch modules")
            from vicinal.torch_engine import TorchEngine

            parts = replace(self._engine.saved_parts(), spec=self._spec)  # as it was set since it was loaded
            choice = Choice("torch", "float32", self._engine.choice.threads)
            self._torch = TorchEngine(parts, choice)
            self._seen = self._torch.module.version()
        return self._torch.module

    def _settle(self) -> None:
        """Which form is the truth: called before a model is used."""
        if self._torch is None:
            return
        if self._seen is None:
            self._spec = self._torch.settle(self._spec)
        elif self._seen != self._torch.module.version():
            logger.info("%s was changed, so torch computes; model.refresh() builds the fast form", self.name)
            self._take_torch()

    def _follow(self, change: Callable[[Any], None]) -> None:
        """Change settings of the torch modules as the fast form's are about to be; whichever is the truth stays it."""
        if self._torch is None:
            return
        self._settle()
        change(self._torch.module)
        if self._seen is not None:
            self._seen = self._torch.module.version()

    def _take_torch(self) -> None:
        self._seen = None
        self._use(self._torch, self._torch.settle(self._spec))

    def _use(self, engine: Engine, spec: Spec) -> None:
        self._engine, self._spec, self._stamps = engine, spec, None

    _trainer = "vicinal.training.trainer:SentenceTransformerTrainer"

    def fit(
        self,
        train_objectives: Any = None,
        evaluator: Any = None,
        epochs: int = 1,
        steps_per_epoch: int | None = None,
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
        callback: Any = None,
        show_progress_bar: bool = True,
        checkpoint_path: Any = None,
        checkpoint_save_steps: int = 500,
        checkpoint_save_total_limit: int = 0,
        resume_from_checkpoint: Any = False,
    ) -> None:
        """Train on DataLoaders of `InputExample`; the fast form is built at the end.

        Args:
            train_objectives: (DataLoader, loss) of each task, which take turns.
            evaluator: run after each epoch, and every `evaluation_steps` steps where these are not 0.
            epochs, steps_per_epoch: None is the length of the shortest DataLoader.
            scheduler: "constantlr", "warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts".
            warmup_steps: over which the rate rises.
            optimizer_class, optimizer_params: AdamW at 2e-5 where not given.
            weight_decay: of all parameters but biases and norms.
            output_path: where the model is saved: the best by the evaluator with `save_best_model`, else the last.
            max_grad_norm: longer gradients are scaled down to it.
            use_amp: mixed precision: float16 on a GPU, bfloat16 on a processor.
            callback: called with (score, epoch, steps) after each evaluation.
            show_progress_bar: whether to show one.
            checkpoint_path, checkpoint_save_steps, checkpoint_save_total_limit: where, how often and how many
                checkpoints are kept (0 is all); none without a path.
            resume_from_checkpoint: a checkpoint's folder, or True for the last one of `checkpoint_path`.

        Raises:
            MissingExtra: the extra "train" is not installed. InvalidData: the examples do not fit the loss.
        """
        require("train", "fit()")
        require("train", "fit()", "accelerate")
        home, _, name = self._trainer.partition(":")
        given = dict(locals())
        options = {key: given[key] for key in _FIT}
        import_module("vicinal.training.fit").fit(
            self, list(train_objectives or ()), getattr(import_module(home), name), **options
        )

    old_fit = fit

    @property
    def _by_torch(self) -> bool:
        """Whether the torch modules compute."""
        return self._torch is not None and self._engine is self._torch

    # ---- as a torch module -------------------------------------------------------------------------------------

    def __call__(self, input: Any, **options: Any) -> Any:
        """The features with what the modules make of them."""
        return self.trainable()(input, **options)

    forward = __call__

    def __getitem__(self, index: Any) -> Any:
        return self._modules_()[index]

    def __len__(self) -> int:
        return len(self._modules_())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules_())

    def __bool__(self) -> bool:
        return True

    def _first_module(self) -> Any:
        return self[0]

    def _last_module(self) -> Any:
        return self[-1]

    @property
    def transformers_model(self) -> Any:
        """The network of `transformers`, None where there is none."""
        return self._modules_().network

    @property
    def config(self) -> Any:
        """Of the network of `transformers`, None where there is none."""
        return self._modules_().config

    def to(self, *where: Any, **options: Any) -> Self:
        """Move or convert the torch modules, which compute from then on."""
        self.trainable().to(*where, **options)
        return self._moved()

    def cuda(self, device: Any = None) -> Self:
        """To the GPU."""
        return self.to("cuda" if device is None else device if isinstance(device, str) else f"cuda:{device}")

    def cpu(self) -> Self:
        """To the processor."""
        return self.to("cpu")

    def half(self) -> Self:
        """To float16."""
        return self.to(require("torch", "half()").float16)

    def bfloat16(self) -> Self:
        """To bfloat16."""
        return self.to(require("torch", "bfloat16()").bfloat16)

    def float(self) -> Self:
        """To float32."""
        return self.to(require("torch", "float()").float32)

    def _moved(self) -> Self:
        """The choice says where the modules are and of which type."""
        module = self._torch.module
        dtype = str(module.dtype).removeprefix("torch.")
        self._torch.choice = Choice("torch", dtype, self._torch.choice.threads, str(module.device))  # type: ignore[arg-type]
        return self

    def train(self, mode: bool = True) -> Self:
        """Put the modules in training mode, dropout on."""
        self.trainable().train(mode)
        return self

    def eval(self) -> Self:
        """Put the modules in evaluation mode."""
        if self._torch is not None:
            self._torch.module.eval()
        return self

    def compile(self, *args: Any, **options: Any) -> None:
        """`torch.compile` the networks in place."""
        network = self.trainable().network
        if network is None:
            raise UnsupportedModel("compile() needs a network of transformers; this model has none")
        network.compile(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name in _DELEGATED:
            return getattr(self.trainable(), name)
        raise refused.member(self, name)

    # ---- copies ------------------------------------------------------------------------------------------------

    def _copy_torch(self, twin: Any) -> None:
        """Give a copy modules of its own."""
        if self._torch is not None:
            twin._torch = copy.copy(self._torch)
            twin._torch.module = copy.deepcopy(self._torch.module)
            if self._engine is self._torch:
                twin._engine = twin._torch
            elif self._seen is not None:
                twin._seen = twin._torch.module.version()


_FIT = (
    "evaluator", "epochs", "steps_per_epoch", "scheduler", "warmup_steps", "optimizer_class", "optimizer_params",
    "weight_decay", "evaluation_steps", "output_path", "save_best_model", "max_grad_norm", "use_amp", "callback",
    "show_progress_bar", "checkpoint_path", "checkpoint_save_steps", "checkpoint_save_total_limit",
    "resume_from_checkpoint",
)  # fmt: skip
_DELEGATED = frozenset(
    (
        "parameters", "named_parameters", "buffers", "named_buffers", "state_dict", "load_state_dict", "zero_grad",
        "requires_grad_", "modules", "named_modules", "children", "named_children", "register_module", "add_module",
        "apply", "gradient_checkpointing_enable", "gradient_checkpointing_disable",
        "activation_checkpointing_enable", "activation_checkpointing_disable", "training", "share_memory",
    )
)  # fmt: skip
"""What a model lets its torch modules answer."""
