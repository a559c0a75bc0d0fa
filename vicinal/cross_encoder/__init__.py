"""Scoring pairs of texts that are read together."""
