"""Runs of the command line: inside this process, and as a program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vicinal.cli.app import app

ROOT = Path(__file__).parent.parent.parent
FAQ = ROOT / "examples" / "shop-faq.txt"


@pytest.fixture
def run() -> Callable[..., Any]:
    """Call `vicinal ARGS...`; what is returned has exit_code, stdout and stderr."""

    def call(*args: object, input: str | bytes | None = None) -> Any:
        result = CliRunner().invoke(app, [str(arg) for arg in args], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def command(args: Sequence[object]) -> list[str]:
    """The program with arguments, for a process of its own."""
    return [sys.executable, "-m", "vicinal.cli", *map(str, args)]


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[Any]]:
    """Run `vicinal ARGS...` in a process of its own."""

    def call(*args: object, **options: Any) -> subprocess.CompletedProcess[Any]:
        settings = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 300, **options}
        return subprocess.run(command(args), check=False, **settings)

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `vicinal ARGS...` with pipes and leave it running; it is killed at the end."""
    running: list[subprocess.Popen[bytes]] = []

    def call(*args: object, **options: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        running.append(subprocess.Popen(command(args), **{**pipes, **options}))
        return running[-1]

    yield call
    for process in running:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                _shut(pipe)
        process.wait()


def _shut(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # what was still to be written to the killed process
        return


@pytest.fixture
def small(fixtures: Path) -> Path:
    """A BERT of random weights that reads 40 tokens."""
    return fixtures / "tiny" / "bases" / "bert"
