"""Stories of the stationary sources: how each makes a sequence, told choice by choice."""

import numpy as np
from hypothesis import strategies as st

from simulator.tasks.graph_walk import GraphWalk
from simulator.tasks.hidden_markov import HiddenMarkov
from simulator.tasks.markov_chain import MarkovChain
from simulator.tasks.random_hierarchy import RandomHierarchy
from simulator.tasks.renewal import Renewal


@st.composite
def markov_chains(draw):
    v, order = draw(st.sampled_from([(2, 0), (2, 1), (2, 3), (3, 1), (3, 2)]))
    concentration = draw(st.sampled_from([0.5, 2.0]))
    return MarkovChain.random(order, v, concentration, 5, draw(st.integers(0, 10**6)))


def markov_chain(task, choose):
    """The first m tokens from the stationary law (by powers of the averaged chain), then token after token."""
    table = np.array(task.transition)
    n_words, v = table.shape
    flow = np.zeros((n_words, n_words))
    for word in range(n_words):
        for token in range(v):
            flow[word, (word * v + token) % n_words] += table[word, token]
    law = np.linalg.matrix_power((flow + np.eye(n_words)) / 2, 2**20)[0]
    word = choose(law)
    order = next(m for m in range(20) if v**m == n_words)
    tokens = [word // v**i % v for i in reversed(range(order))]
    while len(tokens) <= task.max_context_length:
        tokens.append(choose(table[word]))
        word = (word * v + tokens[-1]) % n_words
    return tokens[: task.max_context_length], 0, tokens[task.max_context_length]


@st.composite
def hidden_markovs(draw):
    n, v, L = draw(st.sampled_from([(2, 2, 4), (3, 2, 3), (2, 3, 3)]))
    return HiddenMarkov.random(n, v, draw(st.sampled_from([0.5, 2.0])), L, draw(st.integers(0, 10**6)))


def hidden_markov(task, choose):
    """A state from the stationary law (by powers of the averaged chain); it shows a token, moves, shows, moves, ..."""
    transition = np.array(task.transition)
    state = choose(np.linalg.matrix_power((transition + np.eye(len(transition))) / 2, 2**20)[0])
    tokens = [choose(task.emission[state])]
    while len(tokens) <= task.max_context_length:
        state = choose(task.transition[state])
        tokens.append(choose(task.emission[state]))
    return tokens[:-1], 0, tokens[-1]


@st.composite
def graph_walks(draw):
    return GraphWalk.random(5, draw(st.integers(4, 8)), 5, draw(st.integers(0, 10**6)))


def graph_walk(task, choose):
    """Either end of any edge, then a neighbour, then a neighbour of that, ..."""
    edge = choose([1 / len(task.edges)] * len(task.edges))
    tokens = [task.edges[edge][choose([0.5, 0.5])]]
    while len(tokens) <= task.max_context_length:
        neighbours = [sum(edge) - tokens[-1] for edge in task.edges if tokens[-1] in edge]
        tokens.append(neighbours[choose([1 / len(neighbours)] * len(neighbours))])
    return tokens[:-1], 0, tokens[-1]


@st.composite
def renewals(draw):
    return Renewal(draw(st.sampled_from([1.2, 1.5, 3.0])), 8, draw(st.integers(2, 12)))


def renewal(task, choose):
    """Time falls into a gap as often as the gap is long, and anywhere in it; then gap after gap."""
    lengths = np.arange(1, task.max_gap + 1)
    law = lengths ** -(1.0 + task.exponent)
    law /= law.sum()
    gap = lengths[choose(law * lengths / (law @ lengths))]
    tokens = [0] * choose([1 / gap] * gap) + [1]
    while len(tokens) <= task.max_context_length:
        tokens += [0] * choose(law) + [1]
    return tokens[: task.max_context_length], 0, tokens[task.max_context_length]


@st.composite
def random_hierarchies(draw):
    v, m, s, n = draw(
        st.sampled_from([(2, 1, 2, 3), (2, 2, 2, 3), (3, 1, 2, 3), (3, 2, 2, 3), (3, 3, 2, 2), (2, 2, 3, 2)])
    )
    return RandomHierarchy(v, m, s, n, draw(st.integers(0, 10**6)))


def random_hierarchy(task, choose):
    """A symbol, its tuple, the tuples of its children, ...; each as likely as any other."""
    tokens = [choose([1 / task.vocabulary_size] * task.vocabulary_size)]
    for rule in reversed(task.rules()):
        tokens = [token for symbol in tokens for token in rule[symbol][choose([1 / task.n_synonyms] * task.n_synonyms)]]
    return tokens[:-1], 0, tokens[-1]


SMALL = {
    MarkovChain: (markov_chains(), markov_chain),
    HiddenMarkov: (hidden_markovs(), hidden_markov),
    GraphWalk: (graph_walks(), graph_walk),
    Renewal: (renewals(), renewal),
    RandomHierarchy: (random_hierarchies(), random_hierarchy),
}
"""A strategy of small instances of each task, and its story."""
