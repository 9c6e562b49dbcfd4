"""Fixed models in use: over visible context lengths, token by token, and with a compressed cache of keys and values."""

from simulator.inference.cache_compression import CacheCompression, evaluate_compressed, kept_fraction
from simulator.inference.heads import echo_and_induction_scores, retrieval_heads
from simulator.inference.visible_context import visible_context_sweep

__all__ = [
    "CacheCompression",
    "echo_and_induction_scores",
    "evaluate_compressed",
    "kept_fraction",
    "retrieval_heads",
    "visible_context_sweep",
]
