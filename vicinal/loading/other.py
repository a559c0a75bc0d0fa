"""Architectures that have no network here: torch runs them where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicinal import networks
from vicinal.errors import UnsupportedModel
from vicinal.loading.spec import NetworkConfig, OtherNetwork

TORCH_ONLY = ("BoW", "CNN", "LSTM", "WeightedLayerPooling", "WordEmbeddings", "WordWeights")
"""Modules that are torch's alone."""
_NOISE = ("transformers_version", "torch_dtype", "dtype", "architectures", "auto_map", "name_or_path")
"""Keys of a configuration that tell nothing of the vectors."""
_ANY = 1 << 30


def parsed(
    config: Mapping[str, Any], network: networks.Network | None, path: Path, torch: bool = True
) -> NetworkConfig:
    """What the architecture's network reads of a configuration; where none can run it, what is known of it.

    Args:
        torch: whether torch may run it then.

    Raises:
        UnsupportedModel: nothing runs it.
    """
    if network is not None:
        try:
            return network.parse(config)
        except UnsupportedModel as error:
            if not torch:
                raise
            return other_network(config, str(error))
    custom = " with code of its own" if config.get("auto_map") else ""
    known = ", ".join(networks.known())
    reason = f"{path}: model_type {config.get('model_type')!r}{custom} has no network here ({known} have one)"
    if not torch:
        raise UnsupportedModel(f"{reason}; it runs in sentence-transformers")
    return other_network(config, reason)


def other_network(config: Mapping[str, Any], reason: str) -> OtherNetwork:
    """What is known of an architecture without a network, under the names that most configurations have."""

    def count(*keys: str) -> int:
        return next((config[key] for key in keys if type(config.get(key)) is int and config[key] > 0), 0)

    settings = {key: value for key, value in config.items() if not key.startswith("_") and key not in _NOISE}
    return OtherNetwork(
        vocab_size=count("vocab_size") or _ANY,
        type_vocab_size=count("type_vocab_size"),
        hidden_size=count("hidden_size", "d_model", "n_embd", "dim", "hidden_dim", "emb_dim"),
        max_tokens=count("max_position_embeddings", "n_positions") or None,
        settings=json.dumps(settings, sort_keys=True, default=str),
        reason=reason,
    )
