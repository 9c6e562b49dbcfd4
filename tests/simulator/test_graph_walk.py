"""Walks on graphs whose every number is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.tasks.graph_walk import GraphWalk
from simulator.tasks.markov_chain import MarkovChain

KITE = ((0, 1), (0, 2), (1, 2), (2, 3))


def ring(n):
    return tuple((i, (i + 1) % n) for i in range(n))


@pytest.mark.parametrize(
    ("edges", "nodes", "choices", "dimension"),
    [
        (ring(5), 5, 2, 4),  # an odd ring's adjacency has full rank
        (ring(4), 4, 2, 1),  # in an even one, nodes across from each other have the same neighbours
        (tuple((i, j) for i in range(4) for j in range(i)), 4, 3, 3),
        (((0, 1),), 2, 1, 1),
    ],
)
def test_on_a_regular_graph_both_risks_are_logarithms(edges, nodes, choices, dimension):
    task = GraphWalk(edges, 5)
    assert task.bayes_risk(0) == pytest.approx(math.log(nodes))
    for length in (1, 2, 5):
        assert task.bayes_risk(length) == pytest.approx(math.log(choices))
        assert task.intrinsic_dimension(length) == dimension
        assert task.intrinsic_entropy(length) == pytest.approx(math.log(nodes))
    assert task.intrinsic_dimension(0) == task.intrinsic_entropy(0) == 0


def test_the_worked_example_is_right():
    task = GraphWalk(KITE, 4)
    assert task.bayes_risk(0) == pytest.approx(1.3209, abs=5e-5)
    assert task.bayes_risk(1) == task.entropy_rate == pytest.approx(0.5 * math.log(2) + 0.375 * math.log(3))
    assert task.bayes_risk(1) == pytest.approx(0.7586, abs=5e-5)


@given(st.integers(0, 1000))
def test_a_walk_is_a_markov_chain_of_order_one(seed):
    """One step of context is worth R(0) - R(1), and any further nothing at all."""
    task = GraphWalk.random(6, 9, 3, seed)
    table = np.zeros((6, 6))
    for a, b in task.edges:
        table[a, b] = table[b, a] = 1
    table /= table.sum(axis=1, keepdims=True)
    chain = MarkovChain(tuple(map(tuple, table.tolist())), 3)
    for length in range(4):
        assert task.bayes_risk(length) == pytest.approx(chain.bayes_risk(length), abs=1e-12)
        assert task.intrinsic_dimension(length) == chain.intrinsic_dimension(length)
        assert task.intrinsic_entropy(length) == pytest.approx(chain.intrinsic_entropy(length), abs=1e-12)
    assert task.bayes_risk(1) == task.bayes_risk(3)


def test_the_order_in_which_edges_are_given_does_not_matter():
    assert GraphWalk(((3, 2), (2, 1), (1, 0), (2, 0)), 4) == GraphWalk(KITE, 4)


@pytest.mark.parametrize(("n_nodes", "n_edges"), [(7, 6), (7, 21), (1000, 5000)])
def test_a_random_graph_has_the_nodes_and_edges_asked_for(n_nodes, n_edges):
    task = GraphWalk.random(n_nodes, n_edges, 4, seed=3)
    assert task.vocabulary_size == n_nodes
    assert len(set(task.edges)) == n_edges


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((), "edges must hold at least one edge; got none"),
        (((0, 1), (2, 2)), r"an edge joins two different nodes; got \(2, 2\)"),
        (((0, 1, 2),), r"an edge joins two different nodes; got \(0, 1, 2\)"),
        (((0, 1), (1, 0)), r"each edge must be given once; got \(0, 1\) more than once"),
        (((0, 1), (2, 3)), "edges must connect all nodes 0..3; no path leads from 0 to 2"),
        (((0, 2),), "edges must connect all nodes 0..2; no path leads from 0 to 1"),
        (((-1, 2),), "a node of an edge must be between 0 and .*; got -1"),
    ],
)
def test_edges_that_are_no_connected_graph_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        GraphWalk(edges, 3)


def test_bad_dials_of_a_random_graph_are_refused():
    for dials, message in [
        ((1, 0, 3), "n_nodes must be between 2 and 65536; got 1"),
        ((5, 3, 3), "n_edges must be between 4 and 10; got 3"),
        ((5, 11, 3), "n_edges must be between 4 and 10; got 11"),
    ]:
        with pytest.raises(ValueError, match=message):
            GraphWalk.random(*dials)
