"""Whole ways to a better model, as functions and as programs: `python -m vicinal.recipes.NAME --help`."""

from __future__ import annotations

from vicinal.extras import require

for extra in ("torch", "train"):
    require(extra, "recipes (vicinal.recipes)")
