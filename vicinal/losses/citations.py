"""BibTeX of the papers that the losses come from, for model cards."""

from __future__ import annotations


def bibtex(kind: str, key: str, **fields: str) -> str:
    """One entry."""
    lines = [f"    {name} = {{{value}}}" for name, value in fields.items()]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


def arxiv(key: str, number: str, title: str, author: str) -> str:
    """An entry for a preprint."""
    return bibtex(
        "misc",
        key,
        title=title,
        author=author,
        year=f"20{number[:2]}",
        eprint=number,
        archivePrefix="arXiv",
        url=f"https://arxiv.org/abs/{number}",
    )


INFONCE = arxiv(
    "oord2018representation",
    "1807.03748",
    "Representation Learning with Contrastive Predictive Coding",
    "Aaron van den Oord and Yazhe Li and Oriol Vinyals",
)
GTE = arxiv(
    "li2023towards",
    "2308.03281",
    "Towards General Text Embeddings with Multi-stage Contrastive Learning",
    "Zehan Li and Xin Zhang and Yanzhao Zhang and Dingkun Long and Pengjun Xie and Meishan Zhang",
)
JINA2 = arxiv(
    "gunther2023jina",
    "2310.19923",
    "Jina Embeddings 2: 8192-Token General-Purpose Text Embeddings for Long Documents",
    'Michael G{\\"u}nther and Jackmin Ong and Isabelle Mohr and Alaeddine Abdessalem and Tanguy Abel and others',
)
GRADCACHE = arxiv(
    "gao2021scaling",
    "2101.06983",
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    "Luyu Gao and Yunyi Zhang and Jiawei Han and Jamie Callan",
)
GIST = arxiv(
    "solatorio2024gistembed",
    "2402.16829",
    "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning",
    "Aivin V. Solatorio",
)
PARANMT = bibtex(
    "inproceedings",
    "wieting2018paranmt",
    title="{P}ara{NMT}-50{M}: Pushing the Limits of Paraphrastic Sentence Embeddings with Millions "
    "of Machine Translations",
    author="John Wieting and Kevin Gimpel",
    booktitle="Proceedings of the 56th Annual Meeting of the Association for Computational Linguistics",
    year="2018",
    pages="451--462",
    doi="10.18653/v1/P18-1042",
)
CONTRASTIVE = bibtex(
    "inproceedings",
    "hadsell2006dimensionality",
    title="Dimensionality Reduction by Learning an Invariant Mapping",
    author="Raia Hadsell and Sumit Chopra and Yann LeCun",
    booktitle="IEEE Computer Society Conference on Computer Vision and Pattern Recognition",
    year="2006",
    volume="2",
    pages="1735--1742",
    doi="10.1109/CVPR.2006.100",
)
TENSION = bibtex(
    "inproceedings",
    "carlsson2021semantic",
    title="Semantic Re-tuning with Contrastive Tension",
    author='Fredrik Carlsson and Amaru Cuba Gyllensten and Evangelia Gogoulou and Erik Ylip{\\"a}{\\"a} Hellqvist '
    "and Magnus Sahlgren",
    booktitle="International Conference on Learning Representations",
    year="2021",
    url="https://openreview.net/forum?id=Ov_sMNau-PF",
)
COSENT = bibtex(
    "article",
    "huang2024cosent",
    title="{CoSENT}: Consistent Sentence Embedding via Similarity Ranking",
    author="Xiang Huang and Hao Peng and Dongcheng Zou and Zhiwei Liu and Jianxin Li and Kay Liu and Jia Wu and "
    "Jianlin Su and Philip S. Yu",
    journal="IEEE/ACM Transactions on Audio, Speech, and Language Processing",
    year="2024",
    doi="10.1109/TASLP.2024.3402087",
)
ANGLE = bibtex(
    "inproceedings",
    "li2024aoe",
    title="{A}o{E}: Angle-optimized Embeddings for Semantic Textual Similarity",
    author="Xianming Li and Jing Li",
    booktitle="Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics",
    year="2024",
    doi="10.18653/v1/2024.acl-long.101",
)
TRIPLET = arxiv(
    "hermans2017defense",
    "1703.07737",
    "In Defense of the Triplet Loss for Person Re-Identification",
    "Alexander Hermans and Lucas Beyer and Bastian Leibe",
)
SBERT = bibtex(
    "inproceedings",
    "reimers2019sentence",
    title="Sentence-{BERT}: Sentence Embeddings using Siamese {BERT}-Networks",
    author="Nils Reimers and Iryna Gurevych",
    booktitle="Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing",
    year="2019",
    url="https://arxiv.org/abs/1908.10084",
)
MULTILINGUAL = bibtex(
    "inproceedings",
    "reimers2020making",
    title="Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation",
    author="Nils Reimers and Iryna Gurevych",
    booktitle="Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing",
    year="2020",
    url="https://arxiv.org/abs/2004.09813",
)
MARGIN_MSE = arxiv(
    "hofstatter2020improving",
    "2010.02666",
    "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
    'Sebastian Hofst{\\"a}tter and Sophia Althammer and Michael Schr{\\"o}der and Mete Sertkan and Allan Hanbury',
)
TIGHTLY_COUPLED = arxiv(
    "lin2020distilling",
    "2010.11386",
    "Distilling Dense Representations for Ranking using Tightly-Coupled Teachers",
    "Sheng-Chieh Lin and Jheng-Hong Yang and Jimmy Lin",
)
EMBED_DISTILL = arxiv(
    "kim2023embeddistill",
    "2301.12005",
    "EmbedDistill: A Geometric Knowledge Distillation for Information Retrieval",
    "Seungyeon Kim and Ankit Singh Rawat and Manzil Zaheer and Sadeep Jayasumana and others",
)
TSDAE = bibtex(
    "inproceedings",
    "wang2021tsdae",
    title="{TSDAE}: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised "
    "Sentence Embedding Learning",
    author="Kexin Wang and Nils Reimers and Iryna Gurevych",
    booktitle="Findings of the Association for Computational Linguistics: EMNLP 2021",
    year="2021",
    pages="671--688",
    url="https://arxiv.org/abs/2104.06979",
)
MATRYOSHKA = arxiv(
    "kusupati2022matryoshka",
    "2205.13147",
    "Matryoshka Representation Learning",
    "Aditya Kusupati and Gantavya Bhatt and Aniket Rege and Matthew Wallingford and Aditya Sinha and others",
)
MATRYOSHKA_2D = arxiv(
    "li20242d",
    "2402.14776",
    "2D Matryoshka Sentence Embeddings",
    "Xianming Li and Zongxi Li and Jing Li and Haoran Xie and Qing Li",
)
SPREAD_OUT = arxiv(
    "zhang2017learning",
    "1708.06320",
    "Learning Spread-out Local Feature Descriptors",
    "Xu Zhang and Felix X. Yu and Sanjiv Kumar and Shih-Fu Chang",
)
LAMBDA = bibtex(
    "inproceedings",
    "wang2018lambdaloss",
    title="The {LambdaLoss} Framework for Ranking Metric Optimization",
    author="Xuanhui Wang and Cheng Li and Nadav Golbandi and Michael Bendersky and Marc Najork",
    booktitle="Proceedings of the 27th ACM International Conference on Information and Knowledge Management",
    year="2018",
    pages="1313--1322",
)
RANKNET = bibtex(
    "inproceedings",
    "burges2005learning",
    title="Learning to Rank using Gradient Descent",
    author="Chris Burges and Tal Shaked and Erin Renshaw and Ari Lazier and Matt Deeds and Nicole "
    "Hamilton and Greg Hullender",
    booktitle="Proceedings of the 22nd International Conference on Machine Learning",
    year="2005",
    pages="89--96",
)
LISTNET = bibtex(
    "inproceedings",
    "cao2007learning",
    title="Learning to Rank: From Pairwise Approach to Listwise Approach",
    author="Zhe Cao and Tao Qin and Tie-Yan Liu and Ming-Feng Tsai and Hang Li",
    booktitle="Proceedings of the 24th International Conference on Machine Learning",
    year="2007",
    pages="129--136",
)
LISTMLE = bibtex(
    "inproceedings",
    "xia2008listwise",
    title="Listwise Approach to Learning to Rank: Theory and Algorithm",
    author="Fen Xia and Tie-Yan Liu and Jue Wang and Wensheng Zhang and Hang Li",
    booktitle="Proceedings of the 25th International Conference on Machine Learning",
    year="2008",
    pages="1192--1199",
    doi="10.1145/1390156.1390306",
)
PLISTMLE = bibtex(
    "inproceedings",
    "lan2014position",
    title="Position-Aware {ListMLE}: A Sequential Learning Process for Ranking",
    author="Yanyan Lan and Yadong Zhu and Jiafeng Guo and Shuzi Niu and Xueqi Cheng",
    booktitle="Uncertainty in Artificial Intelligence",
    year="2014",
    pages="449--458",
)
ADRMSE = bibtex(
    "inproceedings",
    "schlatt2025rankdistillm",
    title="{Rank-DistiLLM}: Closing the Effectiveness Gap Between Cross-Encoders and {LLMs} for Passage Re-ranking",
    author='Ferdinand Schlatt and Maik Fr{\\"o}be and Harrisen Scells and Shengyao Zhuang and Bevan Koopman and '
    "Guido Zuccon and Benno Stein and Martin Potthast and Matthias Hagen",
    booktitle="Advances in Information Retrieval (ECIR 2025)",
    year="2025",
    doi="10.1007/978-3-031-88714-7_31",
)
