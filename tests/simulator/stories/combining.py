"""Small instances, and generative stories, of parities and of tasks made of tasks."""

from hypothesis import strategies as st

from simulator.tasks import IrrelevantTokens, LagCopy, Mixture, Retrieval, SantaFe, SparseParity, ZipfQuanta
from tests.simulator.stories.retrieving import tell_lag_copy, tell_retrieval, tell_santa_fe, uniform


def tell_parity(subsets, frequencies, L, choose):
    context = [choose(uniform(2)) for _ in range(L)]
    query = choose([f / sum(frequencies) for f in frequencies])
    if max(subsets[query]) > L:
        return context, query, choose(uniform(2))
    return context, query, sum(context[L - bit] for bit in subsets[query]) % 2


def tell_sparse_parity(task, choose):
    frequencies = task.frequencies or [1.0] * len(task.pairs)
    return tell_parity(task.pairs, frequencies, task.max_context_length, choose)


@st.composite
def sparse_parities(draw, L=None, n=None):
    L = L or draw(st.sampled_from([4, 6]))
    n = n or draw(st.sampled_from([2, 4]))
    pairs = tuple((far, draw(st.integers(1, far - 1))) for far in (draw(st.integers(2, L + 2)) for _ in range(n)))
    frequencies = draw(st.none() | st.tuples(*[st.floats(0.1, 1.0)] * n))
    return SparseParity(pairs, L, frequencies)


def tell_zipf_quanta(task, choose):
    frequencies = [k ** -(1 + task.alpha) for k in range(1, task.n_tasks + 1)]
    return tell_parity(task.subsets(), frequencies, task.max_context_length, choose)


def zipf_quanta():
    return st.builds(
        lambda sizes, alpha, exponent, bits, distances, seed: ZipfQuanta(
            *sizes, alpha, exponent, bits - 1 + seed % 2, bits, distances, seed
        ),
        st.sampled_from([(3, 5), (5, 7)]),
        st.floats(0.2, 2.0),
        st.floats(0.5, 3.0),
        st.sampled_from([2, 3]),
        st.sampled_from(["independent", "coupled"]),
        st.integers(0, 5),
    )


BARE = {
    SparseParity: tell_sparse_parity,
    LagCopy: tell_lag_copy,
    Retrieval: tell_retrieval,
    SantaFe: tell_santa_fe,
}


def bare_tasks():
    return st.one_of(
        sparse_parities(L=3, n=2),
        st.sampled_from([LagCopy(2, 1.0, 0.4, 3), LagCopy(3, 0.5, 0.3, 2)]),
        st.sampled_from([Retrieval(1, 2, 3, n_distractors=1), Retrieval(2, 2, 2, n_distractors=1, rule="and")]),
        st.just(SantaFe(2, 0.6, 2)),
    )


def tell_mixture(task, choose):
    which = choose([weight / sum(task.weights) for weight in task.weights])
    chosen = task.tasks[which]
    context, query, target = BARE[type(chosen)](chosen, choose)
    offset = sum(other.n_queries for other in task.tasks[:which])
    return [0] * (task.max_context_length - len(context)) + list(context), offset + query, target


def mixtures():
    two = st.lists(bare_tasks(), min_size=2, max_size=2).map(tuple)
    return st.builds(Mixture, two, st.sampled_from([(1.0, 1.0), (0.9, 0.1), (1.0, 2.0)]))


def tell_irrelevant_tokens(task, choose):
    tell, bare = BARE[type(task.task)], task.task
    context, query, target = tell(bare, choose)
    n, L, v = bare.max_context_length, task.max_context_length, bare.vocabulary_size
    marks = v if task.relevance == "visible" and n < L else 0
    if task.placement == "random" and marks:
        relevant = []
        for place in range(L):
            share = (n - sum(relevant)) / (L - place)
            relevant.append(choose([1 - share, share]))
    elif task.placement == "random":  # a rule of the task, read off its own account of it
        counts = [next(iter(task.relevant_in_sight(length))) for length in range(L + 1)]
        relevant = [counts[L - place] - counts[L - place - 1] for place in range(L)]
    else:
        before = {"first": 0, "last": L - n, "middle": (L - n + 1) // 2}[task.placement]
        relevant = [int(before <= place < before + n) for place in range(L)]
    if task.kind == "noise":
        others = [choose(uniform(v)) for _ in range(L - n)]
    elif task.kind == "distractor":
        others = []
        while len(others) < L - n:
            others += tell(bare, choose)[0]
    else:
        others = []
        following = choose(uniform(v)) if n < L and not relevant[-1] else None
        newer = list(context)
        for place in reversed(range(L)):
            if relevant[place]:
                following = newer.pop()
            else:
                others.insert(0, following)
    whole, tokens = [], list(context)
    for place in range(L):
        whole.append(tokens.pop(0) if relevant[place] else others.pop(0) + marks)
    return whole, query, target


@st.composite
def padded(draw):
    bare = draw(bare_tasks())
    return IrrelevantTokens(
        bare,
        draw(st.sampled_from([1.0, 0.75, 0.5] if bare.max_context_length < 3 else [1.0, 0.6])),
        draw(st.sampled_from(["noise", "distractor", "repeat"])),
        draw(st.sampled_from(["first", "last", "middle", "random"])),
        draw(st.sampled_from(["visible", "hidden"])),
        draw(st.integers(0, 3)),
    )


SMALL = {
    SparseParity: (sparse_parities(), tell_sparse_parity),
    ZipfQuanta: (zipf_quanta(), tell_zipf_quanta),
    Mixture: (mixtures(), tell_mixture),
    IrrelevantTokens: (padded(), tell_irrelevant_tokens),
}
