"""Write docs/cli.md from the commands themselves: python scripts/make_cli_docs.py

From their parameters, not from the help as it is printed, which differs from one version of typer to the next.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from vicinal.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
_EXIT_CODES = """\
| exit code | |
|---|---|
| 0 | success |
| 1 | failure; one line on standard error says what failed and what to do, `vicinal --debug COMMAND ...` shows where |
| 2 | a wrong call: an unknown option, a value that is none of the choices, an output of unknown format |
| 130 | interrupted (Ctrl-C) |
| 141 | whoever read the output stopped reading (`\\| head`) |
| 143 | terminated |
"""


def page() -> str:
    """The whole page."""
    program: Any = typer.main.get_command(app)
    parts = [
        "<!-- Written by scripts/make_cli_docs.py; change the commands, not this page. -->\n# The command line\n",
        f"{described(program.help)}\n",
        _EXIT_CODES,
        table(program.params),
        *(f"## vicinal {name}\n\n{section(name, command)}" for name, command in commands(program)),
    ]
    return "\n".join(part for part in parts if part)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its name; those of a group with the group's name before."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def section(name: str, command: Any) -> str:
    """A command: how it is called, what it does, its arguments and options."""
    words = [f"vicinal {name}", "[OPTIONS]", *(called(p) for p in command.params if p.param_type_name == "argument")]
    return f"```\n{' '.join(words)}\n```\n\n{described(command.help)}\n\n{table(command.params)}"


def described(text: str) -> str:
    """A docstring as Markdown: what stands behind \\b is code under its first line."""
    blocks = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph[2:].splitlines()
            code = "\n".join(line.removeprefix("  ") for line in lines)
            paragraph = f"{title}\n\n```sh\n{code}\n```"
        blocks.append(paragraph)
    return "\n\n".join(blocks)


def called(argument: Any) -> str:
    """An argument in the usage line."""
    name = f"{argument.metavar}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def table(params: list[Any]) -> str:
    """Arguments and options, a line each."""
    rows = [row(param) for param in params if "--help" not in param.opts]
    return "| | |\n|---|---|\n" + "".join(f"| {cell(name)} | {cell(text)} |\n" for name, text in rows)


def row(param: Any) -> tuple[str, str]:
    """What a parameter is called by, and what it means."""
    if param.param_type_name == "argument":
        return f"`{called(param)}`", param.help
    names = ", ".join(sorted(param.opts, key=len)) + ("" if param.is_flag else f" {param.metavar}")
    default = param.default.value if isinstance(param.default, Enum) else param.default
    shown = "" if param.is_flag or default is None or param.required else f" Default: `{default}`."
    return f"`{names}`", param.help + (" Required." if param.required else "") + shown


def cell(text: str) -> str:
    """Text in a table."""
    return re.sub(r"\|", r"\\|", text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
