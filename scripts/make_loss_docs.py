"""Writes docs/losses.md from the docstrings of the losses.

usage: python scripts/make_loss_docs.py [--check]

--check: change nothing, fail when the page is not what the docstrings say.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from vicinal import losses
from vicinal.cross_encoder import losses as cross_losses

PAGE = Path(__file__).parent.parent / "docs" / "losses.md"
HEAD = """# Losses

Made by `python scripts/make_loss_docs.py` from the docstrings, which have every argument.

A loss is called `loss([features, features, ...], labels)`, as the trainer does, or on embeddings that you have:
`loss.compute_loss_from_embeddings([anchors, positives], labels)`. Under every class lies a pure function of arrays.
Wrong columns or labels are one error that says what the loss expects and what it got. Values and gradients of all of
them are compared with sentence-transformers' in the tests.
"""
PART = "\n## {title}\n\n{text}\n\n"
PART += "| loss | what it asks | columns | labels | use | source |\n|---|---|---|---|---|---|\n{rows}\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        PART.format(title=title, text=text, rows="\n".join(rows(module)))
        for title, text, module in (
            ("For models that give vectors", "`from vicinal import losses` (needs the extra `torch`).", losses),
            ("For cross-encoders", "`from vicinal.cross_encoder import losses`.", cross_losses),
        )
    )


def rows(module: ModuleType) -> list[str]:
    """A row for each loss that a module offers."""
    return [row(name, getattr(module, name)) for name in sorted(module.__all__) if is_loss(getattr(module, name))]


def is_loss(item: Any) -> bool:
    """A class that is called on a batch, and no mere base."""
    return inspect.isclass(item) and hasattr(item, "forward") and "Use:" in (inspect.getdoc(item) or "")


def row(name: str, loss: Any) -> str:
    """Name, first line, columns, labels, use, source."""
    text = inspect.getdoc(loss) or ""
    inputs = getattr(loss, "inputs", None)
    around = inputs is None or inputs.columns == ("those",)
    columns = "those of the loss within" if around else str(inputs)
    labels = "its labels" if around else (inputs.labels or "none")
    cells = (f"`{name}`", text.split("\n")[0], columns, labels, field(text, "Use"), field(text, "Source"))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def field(text: str, name: str) -> str:
    """The paragraph that begins with `name:`."""
    found = re.search(rf"^{name}: (.*?)(?:\n\n|\Z)", text, re.S | re.M)
    return "" if found is None else re.sub(r"\s+", " ", found[1]).strip()


if __name__ == "__main__":
    if "--check" in sys.argv:
        if PAGE.read_text(encoding="utf-8") != page():
            raise SystemExit("docs/losses.md is not what the docstrings say: run python scripts/make_loss_docs.py")
    else:
        PAGE.write_text(page(), encoding="utf-8")
