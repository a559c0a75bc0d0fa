from __future__ import annotations

import subprocess
import sys

from vicinal import helpers, similarity, util
from vicinal.training import mining


def test_util_is_similarity_mining_and_helpers() -> None:
    assert util.__all__ == [*similarity.__all__, *helpers.__all__, "mine_hard_negatives", "resolve_ids"]
    assert helpers.__all__ == sorted(helpers.__all__)
    assert similarity.__all__ == sorted(similarity.__all__)
    for name in similarity.__all__:
        assert getattr(util, name) is getattr(similarity, name)
    for name in helpers.__all__:
        assert getattr(util, name) is getattr(helpers, name)
    assert util.mine_hard_negatives is mining.mine_hard_negatives


def test_names_that_users_know() -> None:
    assert set(util.__all__) >= {
        "SimilarityFunction",
        "community_detection",
        "cos_sim",
        "dot_score",
        "euclidean_sim",
        "information_retrieval",
        "manhattan_sim",
        "normalize_embeddings",
        "pairwise_angle_sim",
        "pairwise_cos_sim",
        "pairwise_dot_score",
        "pairwise_euclidean_sim",
        "pairwise_manhattan_sim",
        "paraphrase_mining",
        "paraphrase_mining_embeddings",
        "pytorch_cos_sim",
        "quantize_embeddings",
        "semantic_search",
        "truncate_embeddings",
    }


def test_arrays_need_nothing_but_numpy() -> None:
    program = """
import sys
for name in ("torch", "pandas", "tqdm", "openvino", "huggingface_hub", "tokenizers"):
    sys.modules[name] = None
from vicinal import util
x = [[1.0, 0.0], [0.0, 1.0]]
util.semantic_search(x, x), util.paraphrase_mining_embeddings(x), util.community_detection(x)
util.euclidean_sim(x, x), util.quantize_embeddings(x, "binary")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
