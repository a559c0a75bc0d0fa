"""Tests of the program around its commands: exit codes, errors, warnings, signals, pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vicinal
from tests.cli.conftest import FAQ
from vicinal.errors import VicinalError

Run = Callable[..., Any]


def test_help_loads_no_numerics() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from vicinal.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit(str(sorted({'numpy', 'openvino', 'tokenizers'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr == "[]\n"
    for name in ("encode", "search", "similarity", "info", "pack"):
        assert f"  {name} " in done.stdout


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"vicinal {vicinal.__version__}\n")


def test_failure_is_one_line_and_code_1(run: Run, tmp_path: Path) -> None:
    result = run("encode", tmp_path / "none.txt", "-o", tmp_path / "out.npy")
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path}/none.txt: No such file or directory\n"
    assert result.stdout == ""


def test_unknown_option_is_code_2(run: Run) -> None:
    result = run("search", "x", FAQ, "--nonsense")
    assert result.exit_code == 2
    assert "--nonsense" in result.stderr


@pytest.mark.parametrize("option", ["--dtype", "--backend", "--truncation"])
def test_a_value_that_is_no_choice_is_code_2(run: Run, option: str) -> None:
    result = run("search", "x", FAQ, option, "nonsense")
    assert result.exit_code == 2
    assert option in result.stderr
    assert "nonsense" in result.stderr


def test_debug_shows_the_traceback(program: Run, tmp_path: Path) -> None:
    wrong = ("search", "x", tmp_path / "none.txt")
    assert program(*wrong).stderr == f"error: {tmp_path}/none.txt: No such file or directory\n"
    done = program("--debug", *wrong)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "FileNotFoundError" in done.stderr.splitlines()[-1]


def test_a_defect_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("vicinal.cli.search.Question.hits", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        run("search", "x", FAQ)


@pytest.mark.parametrize(("error", "code"), [(VicinalError("why"), 1), (KeyboardInterrupt(), 130)])
def test_codes_inside_a_command(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def broken(*args: object) -> None:
        raise error

    monkeypatch.setattr("vicinal.cli.search.Question.hits", broken)
    result = run("search", "x", FAQ)
    assert result.exit_code == code
    assert result.stderr == ("error: why\n" if code == 1 else "interrupted\n")


def test_model_that_is_not_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    result = run("search", "x", FAQ, "--model", "acme/none")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the model 'acme/none' was not found.")


def test_warnings_are_clean_lines(program: Run, tmp_path: Path, small: Path) -> None:
    (tmp_path / "in.txt").write_text("short\n" + "king " * 100 + "\n")
    done = program("encode", tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--model", small)
    assert done.returncode == 0
    first, last = done.stderr.splitlines()
    assert first.startswith("warning: 1 text is longer than this model's 40 tokens")
    assert f"{tmp_path}/in.txt:2 (102 tokens)" in first
    assert first.endswith("say --truncation ignore.")
    assert last.startswith("2 vectors of 35 dimensions")


@pytest.fixture
def encoding(start: Run, tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """An encoding from standard input that has written some vectors and waits for more texts; and its output."""
    out = tmp_path / "out.npy"
    out.write_bytes(b"what was there before")
    process = start("encode", "-", "-o", out, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process.stdin.write(b"a text\n" * 5000)
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 1000 for path in tmp_path.glob(".out.npy.*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, out


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_encoding_leaves_nothing(
    encoding: tuple[subprocess.Popen[bytes], Path], number: signal.Signals, code: int
) -> None:
    process, out = encoding
    process.send_signal(number)
    assert process.wait(60) == code
    assert process.stderr is not None
    assert process.stderr.read() == (b"interrupted\n" if code == 130 else b"")
    assert out.read_bytes() == b"what was there before"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_encoding_leaves_no_half_output(encoding: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, out = encoding
    process.kill()
    process.wait(60)
    assert out.read_bytes() == b"what was there before"


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_has_seen_enough(start: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "in.txt").write_text("a text\n" * 3000)  # more than a pipe holds
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # unbuffered, Python itself takes half a write for a whole one
    process = start("search", "text", tmp_path / "in.txt", "--top-k", 3000, *options, env=environment)
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("call", [("a", "b"), ("--files", FAQ, FAQ)])
def test_a_full_disk_is_a_failure(program: Run, call: tuple[object, ...]) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # few scores are written only at the very end
    with open("/dev/full", "w") as full:
        pipes = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = program("similarity", *call, env=environment, **pipes)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_characters_that_the_output_does_not_have(program: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("naïve 猫\n", "utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = program("search", "naïve", tmp_path / "in.txt", env=environment, encoding="latin-1")
    assert done.returncode == 0
    assert done.stdout.endswith("naïve \\u732b\n")


def test_a_terminal_has_colours_and_a_pipe_has_none(start: Run, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    (tmp_path / "in.txt").write_text("one text\nanother \x1b[2Jtext\n")
    process = start("search", "text", tmp_path / "in.txt", stdout=slave, stderr=slave, env=environment)
    process.stdin.close()
    process.wait(120)
    os.close(slave)
    shown = b""
    while piece := _read(master):
        shown += piece
    os.close(master)
    assert b"\x1b[1;32m" in shown  # the score, bold green
    assert b"in.txt:1" in shown
    assert b"another  [2Jtext" in shown  # a code in a text is not obeyed


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is shut
        return b""
