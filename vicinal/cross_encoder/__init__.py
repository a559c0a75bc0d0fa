"""Scoring pairs of texts: query and document read together."""
