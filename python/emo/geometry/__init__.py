"""Geometry of vectors: similarity, subspaces, alignment, components, each beside its null."""
