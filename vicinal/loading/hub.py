"""Fetching a model from the hub, through huggingface_hub, which is imported when something is fetched."""

from __future__ import annotations

import errno
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from vicinal.errors import ModelNotFound, UnsupportedModel
from vicinal.loading.layout import Contents, plan

_AT_ONCE = 8
_SETTINGS = threading.Lock()
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota error
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


def endpoint() -> str:
    """The hub that is asked: `HF_ENDPOINT`, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def download(
    repo_id: str,
    revision: str | None,
    token: str | bool | None,
    cache_folder: str | os.PathLike[str],
    accept: Callable[[Contents], None] | None = None,
) -> tuple[Path, str]:
    """Fetch a model's needed files into the hub cache, weights last; what is there already is not fetched again.

    Nothing but the files is asked for, and nothing about this machine is told beyond the versions of vicinal,
    huggingface_hub and Python. The revision's name is written to the cache when everything is there.

    Args:
        repo_id: "organisation/name", or "name" of the oldest models.
        revision: branch, tag or commit; None is "main".
        token: of the hub; True is the saved one, None the saved one where there is one, False none.
        cache_folder: in huggingface_hub's layout.
        accept: looks at the model's configuration, and raises where its weights need not be fetched.

    Returns:
        The folder of the snapshot, and its commit.

    Raises:
        ModelNotFound: it cannot be had, and why, chained from huggingface_hub's own error.
        UnsupportedModel: the repository has no weights, or no configuration, that vicinal reads.
    """
    from huggingface_hub import errors

    wanted = Wanted(repo_id, revision or "main", token, Path(os.path.expanduser(cache_folder)))
    try:
        with no_telemetry():
            return _fetch(wanted, accept)
    except (errors.HTTPError, OSError, RuntimeError, JSONDecodeError) as error:
        raise ModelNotFound(reason(wanted, error)) from _alone(error)


def _alone(error: BaseException) -> BaseException:
    """The error without its traceback and those it came from: a page of the HTTP client's frames that help nobody."""
    error.__cause__, error.__suppress_context__ = None, True
    return error.with_traceback(None)


@dataclass(frozen=True)
class Wanted:
    """What the hub is asked for; the list of models has a name too."""

    repo_id: str
    revision: str = "main"
    token: str | bool | None = None
    cache_folder: Path = Path()

    def __str__(self) -> str:
        return f"{self.repo_id} at {endpoint()}"


def client(token: str | bool | None) -> Any:
    """huggingface_hub's client of the hub that is asked."""
    import huggingface_hub

    from vicinal import __version__

    return huggingface_hub.HfApi(endpoint=endpoint(), token=token, library_name="vicinal", library_version=__version__)


def _fetch(wanted: Wanted, accept: Callable[[Contents], None] | None) -> tuple[Path, str]:
    import huggingface_hub

    api = client(wanted.token)
    timeout = huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT
    info = api.model_info(wanted.repo_id, revision=wanted.revision, timeout=timeout)
    if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
        raise ConnectionError(f"the answer names the commit {info.sha!r}")
    get: Callable[[str], str] = partial(
        api.hf_hub_download, wanted.repo_id, revision=info.sha, cache_dir=wanted.cache_folder
    )
    names = frozenset(file.rfilename for file in info.siblings or ())
    contents = Contents(names, lambda name: Path(get(name)).read_bytes(), str(wanted))
    needed = plan(contents)
    if needed.missing:
        raise UnsupportedModel(
            f"{wanted}, commit {info.sha}, lacks {'; '.join(needed.missing)}. "
            f"It has: {', '.join(sorted(names)[:20])}{', ...' if len(names) > 20 else ''}"
        )
    if accept is not None:
        accept(contents)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(get, needed.small))
        list(pool.map(get, needed.weights))
    repository = wanted.cache_folder / f"models--{wanted.repo_id.replace('/', '--')}"
    if wanted.revision != info.sha:
        _write_reference(repository / "refs" / wanted.revision, info.sha)
    return repository / "snapshots" / info.sha, info.sha


def _write_reference(reference: Path, commit: str) -> None:
    reference.parent.mkdir(parents=True, exist_ok=True)
    beside = reference.with_name(f"{reference.name}.{uuid.uuid4().hex[:8]}.tmp")
    beside.write_text(commit, "utf-8")
    beside.replace(reference)


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Keep huggingface_hub from telling the hub what else is installed and running, for our requests only."""
    from huggingface_hub import constants

    with _SETTINGS:
        before = constants.HF_HUB_DISABLE_TELEMETRY
        constants.HF_HUB_DISABLE_TELEMETRY = True
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_TELEMETRY = before


def reason(wanted: Wanted, error: BaseException) -> str:
    """What went wrong, and what to do about it, in one sentence or two."""
    from huggingface_hub import errors

    # "not in the cache either" is how huggingface_hub wraps whatever it met when it asked
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    number = getattr(error, "errno", None)
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{wanted} is gated: ask for access at {endpoint()}/{wanted.repo_id}, then give a token of that account "
            "with token=... or HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no {wanted}, or it is private{_and_token(wanted)}. Check the name; a private model needs "
            "token=... or HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{wanted} has no revision {wanted.revision!r}: give a branch, a tag or a commit that it has"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"token=True was given for {wanted}, but no token is saved: set HF_TOKEN, or run `hf auth login`"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{wanted} was not asked for: huggingface_hub was imported while HF_HUB_OFFLINE was set; restart without"
    if number in _FULL:
        return (
            f"the disk is full: {wanted} does not fit into {wanted.cache_folder}. Make room, or name another place "
            "with cache_folder=... or HF_HOME"
        )
    if number in _NOT_WRITABLE:
        return (
            f"{wanted} could not be written to {wanted.cache_folder}: {_first_line(error)}. Make it writable, or "
            "name another place with cache_folder=... or HF_HOME"
        )
    if (seconds := retry_after(error)) is not None:
        return f"{endpoint()} has had too many requests from here (429): try again in {seconds} seconds"
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return f"{endpoint()} answered {error.response.status_code} for {wanted.repo_id}: {_first_line(error)}"
    if isinstance(error, JSONDecodeError):
        return f"{endpoint()} did not answer like a hub; is something between, such as a login page or a proxy?"
    return (
        f"fetching {wanted} failed ({type(error).__name__}: {_first_line(error)}). Check the connection, HF_ENDPOINT "
        "and the proxy settings, and try again; what is complete is kept"
    )


def retry_after(error: BaseException) -> int | None:
    """The seconds that a hub which has had too many requests asks to wait, 60 where it does not say; else None."""
    response = getattr(error, "response", None)
    if response is None or response.status_code != 429:
        return None
    stated = str(response.headers.get("Retry-After", ""))
    return int(stated) if stated.isdecimal() else 60


def _and_token(wanted: Wanted) -> str:
    return " and the token given does not open it" if isinstance(wanted.token, str) else ""


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
