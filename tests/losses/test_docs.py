"""The page on losses is as the docstrings are."""

from __future__ import annotations

import runpy
from pathlib import Path

from vicinal import losses

ROOT = Path(__file__).parent.parent.parent


def test_page_is_fresh() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "make_loss_docs.py"))
    page = (ROOT / "docs" / "losses.md").read_text("utf-8")
    assert page == script["page"](), "docs/losses.md is stale: python scripts/make_loss_docs.py"
    for name in losses.__all__:
        if name.endswith("Loss") and name != "Loss":
            assert f"| `{name}` |" in page
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert all(cell.strip() for cell in row.strip("|").split("|")), row
