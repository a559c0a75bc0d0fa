"""Processes that compute for this one, each asked through a pipe of its own, so that no death goes unnoticed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from vicinal.errors import WorkerDied

T = TypeVar("T")


class Worker:
    """A spawned process that is asked one thing at a time; it ends when this one does, however it does."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would have the threads' locks without the threads
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # the worker alone can write: when it is gone, whoever reads is told

    def ask(self, function: Callable[..., T], *args: Any) -> T:
        """What a function of a module returns there.

        Raises:
            WorkerDied: the process ended before it answered. Otherwise what the function raised.
        """
        try:
            self._connection.send((function, args))
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(
                f"process {self._process.pid} ended before it gave its results (killed, or out of memory?)"
            ) from error
        if isinstance(answer, _Failed):
            raise answer.error from _Remote(answer.trace)
        return answer  # type: ignore[no-any-return]

    def kill(self) -> None:
        """End the process; who waits for its answer is told that it died."""
        self._process.kill()
        self._process.join()


class _Remote(Exception):
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@dataclass(frozen=True)
class _Failed:
    error: BaseException
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> _Failed:
        trace = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever a class of errors does when it is pickled
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, trace)


def _serve(connection: Connection) -> None:
    """Answer until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the parent too, which ends this process
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a worker"
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - told: a class of the parent's __main__, say, cannot be read here
            connection.send(_Failed.of(error))
            continue
        try:
            answer = function(*args)
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            answer = _Failed.of(error)
        try:
            connection.send(answer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:  # nothing was sent of it
            connection.send(_Failed.of(error))
