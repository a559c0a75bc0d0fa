"""The table of networks in docs/models.md: every network has its row, and no cell is empty."""

from __future__ import annotations

from pathlib import Path

from vicinal import networks

PAGE = Path(__file__).parent.parent.parent / "docs" / "models.md"


def test_the_table_has_every_network() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("<!-- made by scripts/make_model_table.py -->")[2]
    lines = text.partition("<!-- end -->")[0].strip().splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == networks.known(), "docs/models.md is stale: python scripts/make_model_table.py"
    for kind, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            assert cell, (kind, column)
            if column.endswith("float32") and not cell.startswith("as "):
                assert float(cell) < 3e-5, (kind, column)
