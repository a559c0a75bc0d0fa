"""The long form of tests that are worth more the longer they run: VICINAL_LONG=1 in the environment."""

from __future__ import annotations

import os

LONG = bool(os.environ.get("VICINAL_LONG"))
KILLS = 200 if LONG else 20
"""How often a process is killed."""
SECONDS = 60.0 if LONG else 2.0
"""How long processes work beside one another."""
