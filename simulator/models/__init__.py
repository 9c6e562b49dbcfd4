"""Networks. Each is a frozen description behind one adapter (``init``, ``apply``, ``features``)."""

from simulator.models.attention import Transformer
from simulator.models.base import Model
from simulator.models.linear_attention import LinearAttention, RetNet
from simulator.models.mamba import Mamba
from simulator.models.mlp import MLP
from simulator.models.positions import (
    ALiBi,
    DynamicNTK,
    LearnedPositions,
    Llama3Scaling,
    NoPositions,
    NTKAware,
    PositionInterpolation,
    Positions,
    RelativeRoPE,
    RoPE,
    YaRN,
)
from simulator.models.random_subspace import RandomSubspace
from simulator.models.recurrent import GRU, LSTM, MinGRU
from simulator.models.rwkv import RWKV4
from simulator.models.sequence import SequenceModel
from simulator.models.two_branch_mlp import TwoBranchMLP

EXAMPLES: tuple[Model, ...] = (
    MLP(hidden_sizes=(16, 16)),
    MLP(hidden_sizes=(16, 8, 16), negative_slopes=(0.01, 1.0, 0.01)),
    TwoBranchMLP(16, 8, 16),
    RandomSubspace(MLP(hidden_sizes=(16, 16)), 20),
    RandomSubspace(MLP(hidden_sizes=(16, 16)), 20, "fastfood", layer_scales=True),
    Transformer(width=16, heads=2),
    Transformer(width=16, heads=4, kv_heads=2, positions=ALiBi(), window=5),
    Transformer(width=16, heads=2, positions=LearnedPositions(32), log_length=True),
    Transformer(depth=1, width=16, heads=2, positions=YaRN(scale=4.0, trained_length=8)),
    Transformer(width=16, heads=4, kv_heads=2, positions=RelativeRoPE(max_length=32)),
    LinearAttention(width=16, heads=2),
    RetNet(width=16, heads=2),
    RWKV4(width=16),
    Mamba(width=16, state_numbers=4),
    MinGRU(width=16),
    GRU(width=16),
    LSTM(width=16),
)
"""One modest instance of each model, and of each of its variants."""

__all__ = [
    "EXAMPLES",
    "GRU",
    "LSTM",
    "MLP",
    "RWKV4",
    "ALiBi",
    "DynamicNTK",
    "LearnedPositions",
    "LinearAttention",
    "Llama3Scaling",
    "Mamba",
    "MinGRU",
    "Model",
    "NTKAware",
    "NoPositions",
    "PositionInterpolation",
    "Positions",
    "RandomSubspace",
    "RelativeRoPE",
    "RetNet",
    "RoPE",
    "SequenceModel",
    "Transformer",
    "TwoBranchMLP",
    "YaRN",
]
