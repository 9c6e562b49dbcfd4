"""How fast PyTorch trains the simulator's Transformer, with its fused attention.

    python -m tests.benchmarks.pytorch_transformer bfloat16 --width 64 --batch 64 --compiled

prints one line of JSON: tokens a second, as ``tests.benchmarks.models`` counts them. The same network on the same
samples: rotary positions, RMSNorm, GELU, no biases but the readout's, only the last token through the last block;
samples and batches in memory, fused AdamW, gradients clipped; ``scaled_dot_product_attention``, autocast for bfloat16.
Compiled, forward and backward are one program of ``torch.compile``. No clock runs while data are drawn or programs
compile.

PyTorch is no dependency of the project: ``pip install -e ".[bench]"`` first.
"""

import argparse
import contextlib
import json
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from simulator.models import Transformer
from simulator.random.streams import stream_key
from tests.benchmarks.models import LENGTH, TASK
from tests.benchmarks.pytorch_baselines import keep_freed_memory

N_SAMPLES = 20_000


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs (i, i + K/2) of heads (B, H, T, K) turned by angles (T, K/2)."""
    first, second = x.chunk(2, dim=-1)
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class Block(nn.Module):
    """x + attention(norm(x)), x + feed_forward(norm(x))."""

    def __init__(self, spec: Transformer):
        super().__init__()
        E, self.heads = spec.width, spec.heads
        self.mixer_norm, self.feed_forward_norm = nn.RMSNorm(E), nn.RMSNorm(E)
        self.query, self.key_value = nn.Linear(E, E, bias=False), nn.Linear(E, 2 * E, bias=False)
        self.output = nn.Linear(E, E, bias=False)
        self.up = nn.Linear(E, spec.hidden_width, bias=False)
        self.down = nn.Linear(spec.hidden_width, E, bias=False)

    def forward(self, x: Tensor, angles: Tensor, last: bool) -> Tensor:
        """All tokens, or what the last one becomes."""
        normed = self.mixer_norm(x)
        x, asking, asked_at = (x[:, -1:], normed[:, -1:], angles[-1:]) if last else (x, normed, angles)
        query = self._heads(self.query(asking))
        key, value = map(self._heads, self.key_value(normed).chunk(2, dim=-1))
        mixed = scaled_dot_product_attention(turned(query, asked_at), turned(key, angles), value, is_causal=not last)
        x = x + self.output(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(gelu(self.up(self.feed_forward_norm(x)), approximate="tanh"))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Network(nn.Module):
    """Start token and context in, logits of the answer out."""

    def __init__(self, spec: Transformer):
        super().__init__()
        self.tokens = nn.Embedding(TASK.vocabulary_size + 1, spec.width)
        self.blocks = nn.ModuleList([Block(spec) for _ in range(spec.depth)])
        self.norm, self.readout = nn.RMSNorm(spec.width), nn.Linear(spec.width, TASK.n_classes)
        pairs = torch.arange(spec.head_width // 2)
        frequencies = 10_000.0 ** (-2 * pairs / spec.head_width)
        self.register_buffer("angles", torch.arange(LENGTH + 1)[:, None] * frequencies[None, :])

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, classes)."""
        x = self.tokens(tokens)
        for i, block in enumerate(self.blocks):
            x = block(x, self.angles, i == len(self.blocks) - 1)
        return self.readout(self.norm(x[:, 0]))


def tokens_per_second(spec: Transformer, batch: int, bfloat16: bool, compiled: bool) -> float:
    """Median training speed of five measurements, each at least a second long."""
    torch.manual_seed(0)
    keep_freed_memory()
    examples = TASK.sample(stream_key(0, "train"), np.arange(N_SAMPLES))
    start = np.full((N_SAMPLES, 1), TASK.vocabulary_size)
    inputs = torch.from_numpy(np.concatenate([start, np.asarray(examples.context)], axis=1).astype(np.int64))
    answers = torch.from_numpy(np.asarray(examples.target).astype(np.int64))
    network = Network(spec)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.1, fused=True)
    precision = torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext()

    def loss(inputs: Tensor, answers: Tensor) -> Tensor:
        with precision:
            logits = network(inputs)
        return cross_entropy(logits.float(), answers)

    of_batch = torch.compile(loss) if compiled else loss

    def steps(number: int) -> float:
        begin = time.perf_counter()
        for _ in range(number):
            index = torch.randint(N_SAMPLES, (batch,))
            optimiser.zero_grad(set_to_none=True)
            of_batch(inputs[index], answers[index]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        return time.perf_counter() - begin

    steps(5)
    number = max(5, round(5 / steps(5)))
    return batch * (LENGTH + 1) * number / float(np.median([steps(number) for _ in range(5)]))


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("precision", choices=("float32", "bfloat16"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--compiled", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    speed = tokens_per_second(
        Transformer(width=given.width), given.batch, given.precision == "bfloat16", given.compiled
    )
    print(json.dumps({"tokens_per_second": speed}))


if __name__ == "__main__":
    main()
