"""Each kind of task has a learner whose loss falls to the Bayes risk as the data grow, and never below."""

import dataclasses
import itertools

import numpy as np
import pytest

from simulator.learners import GradientDescent, LeastSquares, Run
from simulator.learners.evaluation import evaluate
from simulator.models import MLP, Transformer
from simulator.tasks import (
    EXAMPLES,
    AssociativeRecall,
    GaussianLookBack,
    GraphWalk,
    HiddenMarkov,
    HierarchicalGaussian,
    InContextRegression,
    IrrelevantTokens,
    LagCopy,
    ManifoldTeacher,
    MarkovChain,
    Mixture,
    RandomHierarchy,
    Renewal,
    Retrieval,
    SantaFe,
    SparseParity,
    VariableTracking,
    ZipfQuanta,
)

NETWORK = GradientDescent(
    model=MLP(hidden_sizes=(256, 32)), steps=1500, weight_decay=0.1, learning_rate=3e-3, validation_size=1024
)
NARROW = dataclasses.replace(NETWORK, model=MLP(hidden_sizes=(64, 32)), steps=800, learning_rate=5e-3, side_by_side=1)
LEARNABLE = [
    (SparseParity(((2, 1), (3, 1)), 4), 3, NARROW),
    (GaussianLookBack.arfima(0.4, 6, n_steps=3, n_irrelevant_channels=1), 5, LeastSquares()),
    (HierarchicalGaussian(2), 15, LeastSquares()),
    (InContextRegression(1, 0.25, 3), 2, NARROW),
    (ManifoldTeacher(3, noise_variance=0.05), 2, NETWORK),
    (MarkovChain.random(1, 3, 0.5, 4), 2, NETWORK),
    (HiddenMarkov.symmetric(2, 0.9, 0.9, 4), 4, NETWORK),
    (GraphWalk.random(5, 7, 3), 1, NETWORK),
    (Renewal(1.5, 6, 100), 4, NETWORK),
    (RandomHierarchy(3, 2, 2, 2), 3, NETWORK),
    (LagCopy(2, 1.0, 0.45, 4), 4, NETWORK),
    (SantaFe(3, 0.6, 4), 3, NETWORK),
    (Retrieval(1, 2, 5, n_distractors=2), 4, NETWORK),
    (
        Retrieval(1, 2, 5, n_distractors=2),
        4,
        dataclasses.replace(NETWORK, model=Transformer(width=32, heads=2), steps=600),
    ),
    (AssociativeRecall(2, 2, 2), 3, NETWORK),
    (VariableTracking(2, 1, 2), 1, NETWORK),
    (ZipfQuanta(3, 5, 0.5, 2.0, nearest=2, bits_per_task=2), 5, NETWORK),
    (Mixture((LagCopy(2, 1.0, 0.45, 4), Retrieval(1, 2, 4, n_distractors=1)), (0.5, 0.5)), 4, NETWORK),
    (IrrelevantTokens(Retrieval(1, 2, 4, n_distractors=2), 0.5, placement="middle"), 6, NETWORK),
]
SIZES = (40, 20_000)


# Networks on other tasks are trained alike: one task of bits and one of real numbers stand for them in the fast tests.
CASES = [
    pytest.param(
        *case, marks=(pytest.mark.slow, pytest.mark.optimised) if case[2] not in (NARROW, LeastSquares()) else ()
    )
    for case in LEARNABLE
]


@pytest.mark.parametrize(("task", "length", "learner"), CASES, ids=lambda x: type(x).__name__)
def test_the_loss_comes_down_to_the_bayes_risk(task, length, learner):
    fitted = {f.run.dataset_size: f.predictor for f in learner.fit_runs(task, [Run(length, D, 0) for D in SIZES])}
    measured = [evaluate(task, fitted[D], 0, 4096) for D in SIZES]
    for result in measured:
        assert result.test_loss > task.bayes_risk(length) - 4 * result.test_loss_standard_error
    losses = [result.approximation_loss for result in measured]
    gain = task.bayes_risk(0) - task.bayes_risk(length)
    assert all(smaller < larger or smaller < 0.01 * gain for larger, smaller in itertools.pairwise(losses)), losses
    assert losses[-1] < min(0.15 * gain, 0.5 * losses[0])
    total = np.array([result.test_loss for result in measured])
    assert abs(total[-1] - task.bayes_risk(length) - losses[-1]) < 4 * measured[-1].test_loss_standard_error


def test_no_kind_of_task_is_left_out():
    assert {type(task) for task, _, _ in LEARNABLE} == {type(task) for task in EXAMPLES}
