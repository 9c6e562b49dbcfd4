"""Caches of keys and values with fewer entries. Retrieval heads keep all of theirs."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from simulator.learners.base import Predictor
from simulator.learners.evaluation import Evaluation, evaluate
from simulator.learners.network_predictor import NetworkPredictor
from simulator.measurement.attention_heads import transformer_of, whole_groups
from simulator.models.attention import Cache, joined
from simulator.models.base import as_prediction
from simulator.tasks.base import Examples
from theory.checks import Checked, Count, integer


@dataclasses.dataclass(frozen=True)
class CacheCompression(Checked):
    """The entries that unprotected heads keep: the first tokens, the last tokens, and one entry for all others.

    This is algorithm 1 of RazorAttention (Tang et al. 2024, arXiv 2407.15891). The entry for the dropped set D holds
    the mean key and the mean value, and it counts as |D| tokens. Its weight |D| e^{q . k_mean} never exceeds the sum of
    the weights that it replaces, because e^x is convex. Both are equal if all dropped keys are.

    Attributes:
        window: number of last tokens to keep.
        sinks: number of first tokens to keep.
        compensate: whether one entry stands for the dropped tokens.
    """

    window: Count
    sinks: Annotated[int, integer(0)] = 4
    compensate: bool = True

    def kept(self, n_tokens: int) -> Bool[np.ndarray, "n"]:
        """Return which of ``n_tokens`` tokens are kept."""
        places = np.arange(n_tokens)
        return (places < self.sinks) | (places >= n_tokens - self.window)

    def entries(self, n_tokens: int) -> int:
        """Return the number of entries of one head's cache after ``n_tokens`` tokens."""
        kept = int(self.kept(n_tokens).sum())
        return kept + (self.compensate and kept < n_tokens)


def kept_fraction(compression: CacheCompression, protected: Bool[np.ndarray, "layers H"], n_tokens: int) -> float:
    """Return the number of entries of the compressed cache divided by that of the whole one."""
    share = float(np.mean(protected))
    return share + (1 - share) * compression.entries(n_tokens) / n_tokens


class CompressedCache(NamedTuple):
    """The entries of groups of heads, and the logarithm of the number of tokens that each counts for."""

    cache: Cache
    log_counts: Float[Array, "B G S"]


def compress(cache: Cache, compression: CacheCompression, protected: Bool[np.ndarray, "G"]) -> CompressedCache:
    """Drop the tokens that unprotected heads do not keep, and append the entry that stands for them.

    Dropped entries stay in the arrays and count for nothing, so that the arrays of all heads have one size.
    """
    n = cache.positions.shape[0]
    dropped = ~compression.kept(n)[None, :] & ~np.asarray(protected)[:, None]
    number = dropped.sum(axis=1)
    share = jnp.asarray(dropped / np.maximum(number, 1)[:, None], jnp.float32)
    means = (jnp.einsum("gs,bsgk->bgk", share, a, precision="highest")[:, None] for a in (cache.keys, cache.values))
    keys, values = (
        jnp.concatenate([all_, mean], axis=1) for all_, mean in zip((cache.keys, cache.values), means, strict=True)
    )
    counts = np.concatenate([~dropped, (number * compression.compensate)[:, None]], axis=1)
    with np.errstate(divide="ignore"):
        logs = jnp.asarray(np.log(counts.astype(np.float64)), jnp.float32)
    # The entry has no position of its own; only rules that turn keys, which is done already, or do nothing can use it.
    return CompressedCache(Cache(keys, values, jnp.append(cache.positions, cache.positions[:1])), logs[None])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _CompressedPredictor:
    """A Transformer whose last token reads compressed caches of the tokens before it."""

    whole: NetworkPredictor
    compression: CacheCompression = dataclasses.field(metadata={"static": True})
    protected: tuple[tuple[bool, ...], ...] = dataclasses.field(metadata={"static": True})

    @property
    def context_length(self) -> int:
        return self.whole.task.max_context_length

    def __call__(self, examples: Examples) -> Float[Array, "B *outputs"]:
        task = self.whole.task
        spec, network = transformer_of(self.whole)
        x, positions = network.embedded(examples, task.max_context_length, "float32")
        before, last = x[:, :-1], x[:, -1:]
        with jax.default_matmul_precision("highest"):
            for block, heads in zip(network.blocks, self.protected, strict=True):
                normed, attention = block.mixer_norm(before), block.mixer
                cache = attention.cache(normed, positions[:-1], "float32")
                groups = np.asarray(np.reshape(heads, (spec.n_kv_heads, -1)).any(axis=1))
                last = self._through(block, last, positions[-1:], compress(cache, self.compression, groups))
                before, _ = block(before, positions[:-1], None, "float32", False)
            return as_prediction(task, network.readout(network.norm(last)[:, 0], "float32"))

    @staticmethod
    def _through(block: Any, x: Array, position: Array, before: CompressedCache) -> Array:
        attention, normed = block.mixer, block.mixer_norm(x)
        seen = joined(before.cache, attention.cache(normed, position, "float32"))
        counts = jnp.pad(before.log_counts, ((0, 0), (0, 0), (0, 1)))
        weights = attention.weights(normed, position, seen, "float32", counts)
        x = x + attention.mixed(normed, weights, seen.values, "float32")
        return x + block.feed_forward(block.feed_forward_norm(x), "float32")


def compressed(
    predictor: NetworkPredictor, compression: CacheCompression, protected: Bool[np.ndarray, "layers H"]
) -> Predictor:
    """Return the predictor whose last token reads a compressed cache.

    Earlier tokens read whole caches, as in the prefill of a prompt. The whole context is visible.

    Args:
        predictor: a trained Transformer with rotary positions or none.
        compression: the entries that unprotected heads keep.
        protected: whether a head keeps all tokens, as :func:`simulator.measurement.retrieval_heads` returns it. Heads
            that share keys and values are protected together.

    Raises:
        ValueError: if ``protected`` has another shape, or if the attention depends on distances, which a mean of keys
            does not have.
    """
    spec, _ = transformer_of(predictor)
    if predictor.task.every_position:
        raise ValueError("only the last token reads a compressed cache: give the predictor the bare task")
    protected = np.asarray(protected, bool)
    if protected.shape != (spec.depth, spec.heads):
        raise ValueError(
            f"protected must say yes or no for each of {spec.depth} layers and {spec.heads} heads; got shape "
            f"{protected.shape}"
        )
    if spec.positions.slopes(spec.heads) is not None or spec.positions.n_distances or spec.window is not None:
        raise ValueError(
            "an entry for many tokens has no distance: ALiBi, RelativeRoPE and windows cannot be compressed this way"
        )
    heads = tuple(map(tuple, whole_groups(spec, protected).tolist()))
    return _CompressedPredictor(predictor, compression, heads)


def evaluate_compressed(
    predictor: NetworkPredictor,
    compression: CacheCompression,
    protected: Bool[np.ndarray, "layers H"],
    seed: int = 0,
    test_size: int = 8192,
) -> Evaluation:
    """Evaluate a Transformer whose last token reads a compressed cache (see :func:`compressed`).

    The test samples are the first ``test_size`` of the seed's test stream.
    """
    return evaluate(predictor.task, compressed(predictor, compression, protected), seed, test_size)
