"""What is kept on disk: the embedding cache, vectors of large corpora, the document index."""
