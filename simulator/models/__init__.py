"""Networks, each a frozen description behind one adapter (``init``, ``apply``)."""

from simulator.models.base import Model
from simulator.models.mlp import MLP

EXAMPLES: tuple[Model, ...] = (
    MLP(hidden_sizes=(16, 16)),
    MLP(hidden_sizes=(16, 8, 16), negative_slopes=(0.01, 1.0, 0.01)),
)
"""One modest instance of each model, and of each of its variants."""

__all__ = ["EXAMPLES", "MLP", "Model"]
