"""Putting a model's folder on the hub, through huggingface_hub, which is imported when something is sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vicinal.errors import PublishingFailed
from vicinal.loading.hub import endpoint, no_telemetry


@dataclass(frozen=True)
class Target:
    """Where a model goes, and how.

    Attributes:
        repo_id: "organisation/name", or "name" for the account of the token.
        token: of the hub; None is the saved one.
        private: None is what the organisation has as its default.
        exist_ok: a repository that is there is taken.
        revision: a branch, made where it is not there; None is the main one.
        create_pr: as a pull request.
        message: of the commit.
    """

    repo_id: str
    token: str | bool | None
    private: bool | None
    exist_ok: bool
    revision: str | None
    create_pr: bool
    message: str


def publish(target: Target, write: Callable[[Path, str, bool], None], folder: str | os.PathLike[str] | None) -> str:
    """Make the repository where it is not there, and send a folder to it in one commit.

    Args:
        write: writes the model into a folder, given the repository's full name and whether it has a card already.
        folder: what is sent instead, as it is.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        PublishingFailed: the hub refuses, or cannot be reached; why, chained from huggingface_hub's own error.
        NotADirectoryError: `folder` is none.
    """
    if folder is not None and not os.path.isdir(folder):
        raise NotADirectoryError(f"local_model_path={os.fspath(folder)!r} is no folder")
    import huggingface_hub
    from huggingface_hub import errors

    from vicinal import __version__

    api = huggingface_hub.HfApi(
        endpoint=endpoint(), token=target.token, library_name="vicinal", library_version=__version__
    )
    with no_telemetry():
        try:
            made = api.create_repo(target.repo_id, private=target.private, exist_ok=target.exist_ok or target.create_pr)
            name = str(made.repo_id)
            if target.revision is not None:
                api.create_branch(name, branch=target.revision, exist_ok=True)
            if folder is not None:
                return _send(api, target, name, Path(folder))
            has_card = api.file_exists(name, "README.md", revision=target.revision)
        except (errors.HTTPError, OSError, RuntimeError) as error:
            raise PublishingFailed(_reason(target, error)) from error
        with TemporaryDirectory() as place:
            write(Path(place) / "model", name, has_card)
            try:
                return _send(api, target, name, Path(place) / "model")
            except (errors.HTTPError, OSError, RuntimeError) as error:
                raise PublishingFailed(_reason(target, error)) from error


def _send(api: Any, target: Target, name: str, folder: Path) -> str:
    """One commit of every file, so that nobody sees half a model."""
    from huggingface_hub import CommitOperationAdd

    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
    sent = api.create_commit(
        name,
        [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in found],
        commit_message=target.message,
        create_pr=target.create_pr,
        revision=target.revision,
    )
    return str(sent.pr_url if target.create_pr else sent.commit_url)


def _reason(target: Target, error: BaseException) -> str:
    """What went wrong, and what to do about it."""
    from huggingface_hub import errors

    to = f"{target.repo_id} at {endpoint()}"
    status = (
        error.response.status_code if isinstance(error, errors.HfHubHTTPError) and error.response is not None else None
    )
    if status == 409:
        return f"there is a repository {to} already: exist_ok=True sends a new commit to it, create_pr=True proposes it"
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return (
            f"{endpoint()} does not let this account write to {target.repo_id}: give a token that may, with token=... "
            f"or HF_TOKEN, or run `hf auth login` ({_line(error)})"
        )
    return f"sending the model to {to} failed ({type(error).__name__}: {_line(error)})"


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
