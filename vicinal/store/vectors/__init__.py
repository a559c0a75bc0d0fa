"""Vectors on disk: of large corpora, in shards that a killed run goes on with; of one matrix, with what made it."""
