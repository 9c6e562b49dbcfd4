"""Trained models in use: with fewer visible tokens, or with a compressed cache of keys and values."""

from simulator.inference.cache_compression import CacheCompression, compressed, evaluate_compressed, kept_fraction
from simulator.inference.visible_context import visible_context_sweep

__all__ = [
    "CacheCompression",
    "compressed",
    "evaluate_compressed",
    "kept_fraction",
    "visible_context_sweep",
]
