"""Asking the hub's API: politely, and with one clear error for whatever goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from json import JSONDecodeError
from typing import Any, TypeVar

from vicinal.errors import HubError, ModelNotFound
from vicinal.loading import hub
from vicinal.loading.hub import Wanted
from vicinal.loading.locate import why_offline

_TRIES = 4
_PATIENCE = 120
"""Seconds that are waited when the hub asks for it; more are told to the user."""

T = TypeVar("T")


def ask(wanted: Wanted, question: Callable[[], T], error: type[HubError | ModelNotFound] = HubError) -> T:
    """What `question` gives, asked anew when the hub has had too many requests and says when to come back.

    Args:
        wanted: what is asked for, for messages.
        error: the class of what is raised.

    Raises:
        HubError: the hub must not be asked, cannot be reached, or does not give an answer; the reason is in one line.
    """
    from huggingface_hub import errors

    if (off := why_offline(False)) is not None:
        raise error(f"{hub.endpoint()} is not asked for {wanted.repo_id}, because {off[0]}: {off[1]} and try again")
    try:
        with hub.no_telemetry():
            for _ in range(_TRIES - 1):
                try:
                    return question()
                except errors.HfHubHTTPError as failure:
                    seconds = hub.retry_after(failure)
                    if seconds is None or seconds > _PATIENCE:
                        raise
                    time.sleep(seconds)
            return question()
    except (errors.HTTPError, OSError, RuntimeError, JSONDecodeError) as failure:
        raise error(hub.reason(wanted, failure)) from failure


def pages(wanted: Wanted, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of a listing, a page of which is asked for when it is needed.

    Raises:
        HubError: see `ask`; or what came is no listing.
    """
    url, query = f"{hub.endpoint()}{path}", dict(params)
    while url:
        found, url = ask(wanted, lambda url=url, query=query: _get(wanted, url, query))  # type: ignore[misc]
        if not isinstance(found, list) or not all(isinstance(entry, dict) and "id" in entry for entry in found):
            raise HubError(f"{hub.endpoint()} did not answer like a hub: it gave no list of models")
        yield from found
        if url and not url.startswith(f"{hub.endpoint()}/"):  # a token must not go elsewhere
            raise HubError(f"{hub.endpoint()} sends on to {url!r} for its next page, which is another place")
        query = {}


def model_info(wanted: Wanted) -> dict[str, Any]:
    """What the hub tells of one model, with the sizes of its files.

    Raises:
        ModelNotFound: see `ask`.
    """
    path = f"{hub.endpoint()}/api/models/{wanted.repo_id}/revision/{wanted.revision}"
    found, _ = ask(wanted, lambda: _get(wanted, path, {"blobs": True}), ModelNotFound)
    if not isinstance(found, dict) or not isinstance(found.get("siblings"), list):
        raise ModelNotFound(f"{hub.endpoint()} did not answer like a hub: it tells no files of {wanted.repo_id}")
    return found


def _get(wanted: Wanted, url: str, params: Mapping[str, Any]) -> tuple[Any, str]:
    """What is there, and the address of the next page, "" for none."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    from vicinal import __version__

    headers = build_hf_headers(token=wanted.token, library_name="vicinal", library_version=__version__)
    pairs = chain.from_iterable(
        ((key, one) for one in (value if isinstance(value, (list, tuple)) else [value]))
        for key, value in params.items()
    )
    session = get_session()
    options: dict[str, Any] = {"params": list(pairs)} if params else {}
    response = session.get(url, headers=headers, timeout=constants.HF_HUB_ETAG_TIMEOUT, **options)
    hf_raise_for_status(response)
    return response.json(), str(response.links.get("next", {}).get("url", ""))
