"""A random walk on a graph: one token tells all there is to know; further context is pure cost."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from simulator.random.draws import choose, thresholds, uniform_below
from simulator.random.threefry import random_words
from simulator.tasks.base import ClassificationTask, ContextLength, Examples, Index, Key, TaskForm
from simulator.tasks.markov_chain import affine_dimension, entropy
from simulator.tasks.sampling import sample_keys
from theory.checks import Count, check_integer, each, integer, set_fields
from theory.types import Integer

_Edges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class GraphWalk(ClassificationTask):
    r"""A walker steps to a neighbour chosen uniformly; tokens are the nodes visited, the answer is the next node.

    The graph is connected and undirected, the walk stationary: pi_i = degree_i / (2 * edges). It is a Markov chain of
    order one, so

        R(0) = - sum over i of pi_i ln pi_i,        R(l) = sum over i of pi_i ln degree_i     for l >= 1:

    the null case of context scaling, with the data of Barkeshli et al. 2026 (arXiv 2601.10684).

    Worked example, edges ((0, 1), (0, 2), (1, 2), (2, 3))::

        0 -- 1      node       0    1    2    3       context  3 2 0 1     next: 0 or 2, each 1/2
         \\  |       degree     2    2    3    1
           2 -- 3   pi       2/8  2/8  3/8  1/8
        R(0) = 1.3209,   R(1) = R(2) = ... = (4/8) ln 2 + (3/8) ln 3 = 0.7586

    ``intrinsic_dimension(l)`` is the dimension of the smallest flat space that holds every predictive law: 0 at l = 0,
    then the rank of the adjacency matrix less one. ``intrinsic_entropy(l)`` is that of the newest token: 0, then R(0).

    Attributes:
        edges: pairs of different nodes, each pair once; nodes are numbered 0..n-1, and none is without an edge.
            Kept in sorted order: the same graph is the same task.
        max_context_length: L.
    """

    edges: Annotated[Sequence[Sequence[int]], each("an edge", each("a node of an edge", integer(0, 2**20)))]
    max_context_length: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        for pair in self.edges:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise ValueError(f"an edge joins two different nodes; got {pair}")
        edges = sorted((min(pair), max(pair)) for pair in self.edges)
        if not edges:
            raise ValueError("edges must hold at least one edge; got none")
        repeated = [edge for edge, following in itertools.pairwise(edges) if edge == following]
        if repeated:
            raise ValueError(f"each edge must be given once; got {repeated[0]} more than once")
        n_parts, label = scipy.sparse.csgraph.connected_components(_adjacency(tuple(edges)), directed=False)
        if n_parts > 1:
            apart = int(np.flatnonzero(label != label[0])[0])
            raise ValueError(f"edges must connect all nodes 0..{len(label) - 1}; no path leads from 0 to {apart}")
        set_fields(self, edges=tuple(edges))

    @classmethod
    def random(cls, n_nodes: Integer, n_edges: Integer, max_context_length: Integer, seed: Integer = 0) -> "GraphWalk":
        """A random spanning tree (each node in random order tied to an earlier one) and random further edges.

        Args:
            n_nodes: n, at least 2.
            n_edges: between n - 1 and n (n - 1)/2.
            max_context_length: L.
            seed: seed of the edges.
        """
        n = check_integer("n_nodes", n_nodes, 2, 2**16)
        n_edges = check_integer("n_edges", n_edges, n - 1, n * (n - 1) // 2)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        order = rng.permutation(n)
        tree = [(int(order[i]), int(order[rng.integers(i)])) for i in range(1, n)]
        edges = dict.fromkeys((min(pair), max(pair)) for pair in tree)
        while len(edges) < n_edges:
            drawn = rng.integers(n, size=(n_edges - len(edges), 2)).tolist()
            edges.update(dict.fromkeys((min(pair), max(pair)) for pair in drawn if pair[0] != pair[1]))
        return cls(tuple(edges), check_integer("max_context_length", max_context_length, 1))

    @property
    def form(self) -> TaskForm:
        """Tokens and answers are the n nodes."""
        n = max(edge[1] for edge in self.edges) + 1
        return TaskForm(self.max_context_length, self.loss, n, n, is_stationary_text=True)

    @property
    def entropy_rate(self) -> float:
        """R(l) for l >= 1, in nats per step."""
        degrees = _graph(self.edges).degrees
        return float(np.sum(degrees * np.log(degrees)) / degrees.sum())

    def bayes_risk(self, context_length: Integer) -> float:
        self.check_length(context_length)
        # A walk on a regular graph with two nodes left to choose from may gain nothing: let rounding not say it loses.
        return min(self.entropy_rate, self._node_entropy()) if context_length else self._node_entropy()

    def intrinsic_dimension(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return float(_rank_of_laws(self.edges)) if context_length else 0.0

    def intrinsic_entropy(self, context_length: Integer) -> float:
        self.check_length(context_length)
        return self._node_entropy() if context_length else 0.0

    def _node_entropy(self) -> float:
        degrees = _graph(self.edges).degrees
        return entropy(degrees / degrees.sum())

    def sample(self, key: Key, index: Index) -> Examples:
        keys, index = sample_keys(key, index)
        L = self.max_context_length
        graph = _graph(self.edges)
        words = random_words(keys, L + 1)
        first = choose(words[:, 0], thresholds(graph.degrees / graph.degrees.sum()))
        degrees, starts, neighbours = (jnp.asarray(part, jnp.int32) for part in graph)

        def step(node, fresh):
            following = neighbours[starts[node] + uniform_below(fresh, degrees[node])]
            return following, following

        _, rest = jax.lax.scan(step, first, words[:, 1:].T)
        tokens = jnp.concatenate([first[None], rest], axis=0)
        return Examples(tokens[:L].T, jnp.zeros_like(index), tokens[L])

    def bayes_prediction(self, examples: Examples, context_length: ContextLength) -> Float[jax.Array, "B nodes"]:
        self.check_length(context_length)
        self.check_examples(examples)
        graph = _graph(self.edges)
        prior = jnp.asarray(np.log(graph.degrees / graph.degrees.sum()), jnp.float32)
        node = examples.context[:, -1]
        # Neighbours in rows, padded by a node that does not exist.
        inside = np.arange(graph.degrees.max())[None, :] < graph.degrees[:, None]
        rows = np.full(inside.shape, len(inside))
        rows[inside] = graph.neighbours
        value = jnp.asarray(-np.log(graph.degrees), jnp.float32)[node]
        batch = jnp.arange(node.shape[0], dtype=jnp.int32)
        nowhere = jnp.full((node.shape[0], len(inside)), -jnp.inf, jnp.float32)
        after = nowhere.at[batch[:, None], jnp.asarray(rows, jnp.int32)[node]].set(value[:, None], mode="drop")
        return jnp.where(jnp.asarray(context_length, jnp.int32) > 0, after, prior[None, :])


class _Graph(NamedTuple):
    degrees: Int[np.ndarray, "nodes"]
    starts: Int[np.ndarray, "nodes"]
    """Where each node's neighbours begin in ``neighbours``."""
    neighbours: Int[np.ndarray, "ends"]


def _adjacency(edges: _Edges) -> scipy.sparse.csr_matrix:
    ends = np.array(edges)
    n = int(ends.max()) + 1
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    return scipy.sparse.csr_matrix((np.ones(rows.size), (rows, columns)), shape=(n, n))


@functools.lru_cache(maxsize=64)
def _graph(edges: _Edges) -> _Graph:
    matrix = _adjacency(edges)
    matrix.sort_indices()
    return _Graph(np.diff(matrix.indptr), matrix.indptr[:-1], matrix.indices)


@functools.lru_cache(maxsize=64)
def _rank_of_laws(edges: _Edges) -> int:
    matrix = _adjacency(edges).toarray()
    return affine_dimension(matrix / matrix.sum(axis=1, keepdims=True))
