"""Small instances, and generative stories, of tasks whose context holds what is asked for."""

import functools
import math

import jax
import numpy as np
from hypothesis import strategies as st

from simulator.tasks import AssociativeRecall, LagCopy, Retrieval, SantaFe, VariableTracking


def uniform(n):
    return [1 / n] * n


def tell_lag_copy(task, choose):
    v, L = task.vocabulary_size, task.max_context_length
    context = [choose(uniform(v)) for _ in range(L)]
    p = [task.first_probability * n**-task.beta for n in range(1, L + 1)]
    lag = choose([*p, max(1 - sum(p), 0.0)]) + 1
    return context, 0, context[L - lag] if lag <= L else choose(uniform(v))


@st.composite
def lag_copies(draw):
    v, L = draw(st.sampled_from([(2, 6), (2, 3), (3, 4), (4, 3)]))
    beta = draw(st.floats(0.3, 2.5))
    largest = 1 / math.fsum(n**-beta for n in range(1, L + 1))
    return LagCopy(v, beta, largest * draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])), L)


def tell_santa_fe(task, choose):
    """Fixed facts are read off the task's own samples: they are its rule, like the pairs of a parity."""
    weights = [k ** (-1 / task.b) for k in range(1, task.n_facts + 1)]
    p = [w / sum(weights) for w in weights]
    facts = {}

    def fact(k):
        if k not in facts:
            facts[k] = fixed_facts(task)[k] if task.facts == "fixed" else choose(uniform(2))
        return facts[k]

    context = []
    for _ in range(task.max_context_length):
        k = choose(p)
        context.append(2 * k + fact(k))
    query = choose(p)
    return context, query, fact(query)


@functools.lru_cache
def fixed_facts(task):
    tokens = np.asarray(task.sample(jax.random.key(0), range(500)).context).ravel()
    return {token // 2: token % 2 for token in tokens.tolist()}


def santa_fes():
    return st.builds(
        SantaFe, st.just(3), st.floats(0.2, 0.9), st.sampled_from([2, 4]), st.sampled_from(["redrawn", "fixed"])
    )


def tell_retrieval(task, choose):
    L, m, k = task.max_context_length, task.n_answers, task.n_needles

    def F(l):
        if task.distance_law == "uniform":
            return l / L
        if task.distance_law == "pareto":
            return 1 - (task.nearest / l) ** task.exponent if l >= task.nearest else 0.0
        return 1 - (1 - l / L) ** (task.exponent + 1)

    law = [F(l) - F(l - 1) for l in range(1, L + 1)]
    needles = [(choose([*law, 1 - F(L)]) + 1, choose(uniform(m))) for _ in range(k)]
    combine = (lambda values: sum(values) % m) if task.rule == "sum" else min
    context = []
    for distance in range(L, 0, -1):
        here = [j for j, (at, _) in enumerate(needles) if at == distance]
        if here:
            which = sum(1 << j for j in here)
            context.append(task.n_distractors + (which - 1) * m + combine([needles[j][1] for j in here]))
        else:
            context.append(choose(uniform(task.n_distractors)))
    return context, 0, combine([value for _, value in needles])


@st.composite
def retrievals(draw):
    k, m, L = draw(st.sampled_from([(1, 2, 4), (1, 3, 4), (2, 2, 4), (2, 3, 4), (3, 2, 3)]))
    law = draw(st.sampled_from(["uniform", "pareto", "position_weighted"]))
    rule = draw(st.sampled_from(["sum", "and"])) if m == 2 else "sum"
    return Retrieval(k, m, L, law, draw(st.floats(0.2, 3.0)), draw(st.integers(1, 2)), draw(st.integers(1, 2)), rule)


def tell_associative_recall(task, choose):
    unused, context, pairs = list(range(task.n_keys)), [], []
    for _ in range(task.n_pairs):
        key = unused.pop(choose(uniform(len(unused))))
        pairs.append((key, choose(uniform(task.n_values))))
        context += [key, task.n_keys + pairs[-1][1]]
    weights = [j**-task.gap_exponent for j in range(1, task.n_pairs + 1)]
    query, target = pairs[task.n_pairs - 1 - choose([w / sum(weights) for w in weights])]
    return context, query, target


@st.composite
def associative_recalls(draw):
    n, K, m = draw(st.sampled_from([(1, 1, 2), (2, 3, 2), (3, 3, 2), (2, 2, 4), (3, 4, 2)]))
    return AssociativeRecall(n, K, m, draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])))


def tell_variable_tracking(task, choose):
    g, c, m, L = task.n_chains, task.chain_length, task.n_values, task.max_context_length
    values = [choose(uniform(m)) for _ in range(g)]
    names, unused = {}, list(range(L))
    for place in ((chain, step) for chain in range(g) for step in range(c)):
        names[place] = unused.pop(choose(uniform(len(unused))))
    done, context = [0] * g, []
    while len(context) < L:
        left = [c - d for d in done]
        chain = choose([n / sum(left) for n in left])
        right = values[chain] if done[chain] == 0 else m + names[chain, done[chain] - 1]
        context.append(names[chain, done[chain]] * (m + L) + right)
        done[chain] += 1
    asked = choose(uniform(g))
    return context, names[asked, c - 1], values[asked]


def variable_trackings():
    return st.sampled_from([(2, 1, 3), (1, 3, 2), (2, 2, 2), (2, 2, 3), (3, 1, 2), (4, 1, 2)]).map(
        lambda dials: VariableTracking(*dials)
    )


SMALL = {
    LagCopy: (lag_copies(), tell_lag_copy),
    SantaFe: (santa_fes(), tell_santa_fe),
    Retrieval: (retrievals(), tell_retrieval),
    AssociativeRecall: (associative_recalls(), tell_associative_recall),
    VariableTracking: (variable_trackings(), tell_variable_tracking),
}
