"""The page on the command line and the examples are as the code is."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.conftest import ROOT
from vicinal.cli.app import app

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_cli_docs.py"))


def test_page_is_fresh() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert page == SCRIPT["page"](), "docs/cli.md is stale: python scripts/make_cli_docs.py"


def test_every_option_is_explained_and_on_the_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    program: Any = typer.main.get_command(app)
    for name, command in SCRIPT["commands"](program):
        section = page.split(f"## vicinal {name}\n")[1].split("\n## ")[0]
        assert "Examples:" in command.help
        for param in command.params:
            if "--help" not in param.opts:
                assert param.help, f"{name} {param.name} has no help"
                assert param.help.replace("|", "\\|") in section
                assert all(opt in section for opt in param.opts if opt.startswith("-"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("search.py", "You have 30 days from delivery to return any item"),
        ("cluster.py", "messages:\n  "),
        ("dedupe.py", "You charged my credit card two times.\n      repeats: My credit card was charged twice"),
    ],
)
def test_examples_run(name: str, expected: str, tmp_path: Path) -> None:
    path = ROOT / "examples" / name
    assert len(path.read_text("utf-8").splitlines()) < 40
    done = subprocess.run(
        [sys.executable, "-W", "error", path], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout
