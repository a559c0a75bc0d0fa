"""What the tests of `vicinal.similarity` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def peer(fixtures: Path) -> dict[str, np.ndarray]:
    """Inputs and what sentence-transformers made of them; written by reference/make_similarity_fixtures.py."""
    with np.load(fixtures / "similarity.npz") as file:
        return {name: file[name] for name in file.files}
