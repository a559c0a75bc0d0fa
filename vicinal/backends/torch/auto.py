"""Networks of `transformers`, built from a configuration and tensors that were already read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vicinal.backends.torch.adapters import merged
from vicinal.backends.torch.weights import state_of, tensors_of
from vicinal.errors import DamagedModel, Unavailable, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.weights import Tensor

BODY, CLASSIFIER, CAUSAL = "AutoModel", "AutoModelForSequenceClassification", "AutoModelForCausalLM"
OPTIONS = ("attn_implementation", "device_map", "max_memory", "offload_folder")
"""What `model_kwargs` may hold for torch, besides the dtype."""
_RENAMED = "_vicinal_weight_conversions"
"""Attribute of a network: how names of its checkpoint became those of its parameters."""


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without the progress bars and reports of `transformers`: what they tell is checked here."""
    log = transformers.utils.logging
    bars, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def auto_model(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: Any,
    *,
    root: Path | None = None,
    trust_remote_code: bool = False,
    task: str = BODY,
    **options: Any,
) -> Any:
    """The network that a `config.json` describes, with copies of these weights, in evaluation mode.

    Args:
        tensors: as the checkpoint names them.
        dtype: of the parameters, "float32" or a torch.dtype.
        root: the model's folder, where code of its own lies.
        trust_remote_code: whether that code may run.
        task: BODY for token states, CLASSIFIER for the network with its classification head, CAUSAL with that which
            foretells tokens.
        options: of OPTIONS.

    Raises:
        UnsupportedModel: `transformers` does not have the architecture. UnsafeModel: it is code of the model's own.
        DamagedModel: tensors are missing, or of another shape.
    """
    transformers = require("transformers", "running a transformer in torch")
    with quiet(transformers):
        settings = _settings(transformers, config, root, trust_remote_code)
        kind = _class(transformers, settings, task, trust_remote_code)
        try:
            model, found = kind.from_pretrained(
                None, config=settings, state_dict=state_of(tensors), dtype=as_dtype(dtype), output_loading_info=True,
                ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
        except (ImportError, ValueError) as error:  # a wish that cannot be met: flash attention that is not there
            raise Unavailable(f"{kind.__name__} cannot be set up with {options}: {error}") from error
    model.config.name_or_path = ""  # not "None", which would be taken for a name on the hub
    setattr(model, _RENAMED, getattr(model, "_weight_conversions", None))
    missing = sorted(name for name in found["missing_keys"] if "pooler." not in name)
    if missing or found["mismatched_keys"]:
        wrong = [f"{name} {list(got)}, wanted {list(wanted)}" for name, got, wanted in found["mismatched_keys"]]
        raise DamagedModel(
            f"{root or 'the model'}: the weights do not fit {kind.__name__}: missing {missing[:5] or 'none'}, "
            f"of another shape {wrong[:5] or 'none'}"
        )
    return model


def _settings(transformers: Any, config: Mapping[str, Any], root: Path | None, trusted: bool) -> Any:
    """The configuration object."""
    if config.get("auto_map") and trusted and root is not None:
        return transformers.AutoConfig.from_pretrained(str(root), trust_remote_code=True)
    values = {key: value for key, value in config.items() if key not in ("model_type", "auto_map", "dtype")}
    try:
        settings = transformers.AutoConfig.for_model(str(config.get("model_type")), **values)
    except ValueError as error:
        own = " and has code of its own: trust_remote_code=True runs it" if config.get("auto_map") else ""
        raise UnsupportedModel(
            f"{root or 'the model'}: model_type {config.get('model_type')!r} is not in transformers "
            f"{transformers.__version__}{own}"
        ) from error
    if getattr(settings, "use_cache", False):
        settings.use_cache = False  # keys and values of past tokens serve generation alone
    return settings


def _class(transformers: Any, settings: Any, task: str, trusted: bool) -> Any:
    """The class of the network: of an encoder and a decoder, the encoder alone."""
    encoder = getattr(transformers, type(settings).__name__.removesuffix("Config") + "EncoderModel", None)
    if task == BODY and encoder is not None and getattr(settings, "is_encoder_decoder", False):
        return encoder
    with torch.device("meta"):
        return type(getattr(transformers, task).from_config(settings, trust_remote_code=trusted))


def checkpoint_tensors(model: Any) -> dict[str, Tensor]:
    """A network's present weights, by the names that its checkpoints have; views where they lie in main memory.

    Active adapters are added to them, in copies.
    """
    from transformers import core_model_loading

    model = merged(model)
    if hasattr(model, _RENAMED):  # reading an adapter has put its own in their place
        model._weight_conversions = getattr(model, _RENAMED)
    state = model.state_dict()
    return tensors_of(core_model_loading.revert_weight_conversion(model, state))


def as_dtype(dtype: Any) -> Any:
    """A torch.dtype by its name, with or without "torch."."""
    return getattr(torch, str(dtype).removeprefix("torch."))
