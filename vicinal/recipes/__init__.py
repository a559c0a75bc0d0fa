"""Whole ways to a better model, as functions and as programs: `python -m vicinal.recipes.NAME --help`."""
