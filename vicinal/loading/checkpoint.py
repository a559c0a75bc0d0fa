"""The tensors of a module's folder, in whichever files they are."""

from __future__ import annotations

import fnmatch

from vicinal import networks
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.loading.spec import Spec, Transformer
from vicinal.loading.weights import Scope, Tensor, read_safetensors

SINGLE, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def read_weights(folder: Folder, at: str) -> dict[str, Tensor]:
    """Map the tensors in the subfolder `at`.

    Raises:
        DamagedModel: they are missing or cannot be read. UnsafeModel: a file lies outside the folder.
        MissingExtra: there is only a pickled checkpoint, which torch reads (tensors alone, no code).
    """
    prefix = f"{at}/" if at else ""
    if folder.has(prefix + SINGLE):
        return read_safetensors(folder.path(prefix + SINGLE))
    if folder.has(prefix + INDEX):
        return _shards(folder, prefix)
    if folder.has(prefix + PICKLED):
        from vicinal.backends.torch.pickled import read_pickled

        return read_pickled(folder.path(prefix + PICKLED))
    for name in (
        "pytorch_model.bin.index.json",
        "adapter_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "adapter_model.safetensors",
    ):
        if folder.has(prefix + name):
            raise UnsupportedModel(f"{folder.path(prefix + name)}: these weights are not read here, only {SINGLE}")
    raise DamagedModel(
        f"{folder.root / at} has no {SINGLE}: the folder is incomplete (a download that broke off?). Get it again."
    )


def _shards(folder: Folder, prefix: str) -> dict[str, Tensor]:
    where = folder.mapping(prefix + INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise DamagedModel(f"{folder.path(prefix + INDEX)} has no weight_map: damaged")
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(map(str, where.values()))):
        if not folder.has(prefix + file):
            raise DamagedModel(
                f"{folder.path(prefix + file)} is missing, one of the files that {INDEX} lists: the folder is "
                "incomplete (a download that broke off?). Get it again."
            )
        tensors.update(read_safetensors(folder.path(prefix + file)))
    missing = sorted(set(where) - set(tensors))
    if missing:
        raise DamagedModel(f"{folder.root}: tensor {missing[0]} ({len(missing)} in all) is not in its file")
    return tensors


def check_unread(spec: Spec, weights: Scope) -> None:
    """Every tensor must have been read, but for what checkpoints are known to carry besides.

    Raises:
        DamagedModel: names the tensors that nothing reads.
    """
    left = set(weights.unread())
    for route in spec.routes.values():
        for module, at in zip(route.modules, route.folders, strict=True):
            if isinstance(module, Transformer):
                network = networks.find(module.architecture)
                patterns = network.LEFTOVERS if network else ()
                left -= {name for name in left if _known(name, f"{at}/", patterns)}
    if left:
        names = ", ".join(sorted(name.rpartition("/")[2] for name in left)[:5])
        raise DamagedModel(
            f"nothing reads {len(left)} tensors of the checkpoint ({names}{', ...' if len(left) > 5 else ''}): "
            "its configuration does not describe it, and its vectors would be wrong"
        )


def _known(name: str, prefix: str, patterns: tuple[str, ...]) -> bool:
    local = name.removeprefix(prefix)
    return name.startswith(prefix) and any(fnmatch.fnmatchcase(local, pattern) for pattern in patterns)
