"""Hard negatives: of a collection, the documents that a model takes for answers and that are none."""

from __future__ import annotations

from vicinal.training.mining.mine import mine_hard_negatives

__all__ = ["mine_hard_negatives"]
