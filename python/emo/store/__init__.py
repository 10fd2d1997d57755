"""Activations on disk: write, read, verify; weights straight from a checkpoint."""

from emo.store.integrity import describe, verify
from emo.store.lock import folder_lock
from emo.store.manifest import StorePlan
from emo.store.moments import Moments, cached, cached_moments, check_cache
from emo.store.reader import Store
from emo.store.vectors import read_vector
from emo.store.weights import Checkpoint, Projection, weights_hash
from emo.store.writer import StoreWriter, bytes_needed

__all__ = [
    "Checkpoint",
    "Moments",
    "Projection",
    "Store",
    "StorePlan",
    "StoreWriter",
    "bytes_needed",
    "cached",
    "cached_moments",
    "check_cache",
    "describe",
    "folder_lock",
    "read_vector",
    "verify",
    "weights_hash",
]
