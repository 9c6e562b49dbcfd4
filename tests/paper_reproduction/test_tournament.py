"""The tournament of growth laws: what it leaves, and that laws are known again by the exact curves of learners."""

import numpy as np
import pytest
import xarray as xr

from paper_reproduction.optimal_context_laws.make import entrants, exact_optimum, laws
from simulator import Study
from theory import compare, verdict

LAPTOP = entrants("laptop")


def exact_table(study: Study, noise: float, n_seeds: int) -> xr.Dataset:
    """A table of the expected risks, with multiplicative noise in the approximation loss."""
    task, axes = study.task, ("context_length", "dataset_size", "seed")
    every = range(task.max_context_length + 1)
    risk = np.array([task.bayes_risk(length) for length in every])
    at = list(study.context_lengths)
    expected = [[study.learner.expected_risk(task, length, D) for D in study.dataset_sizes] for length in at]
    gap = np.maximum(np.array(expected) - risk[at][:, None], 0.0)[:, :, None]
    gap = gap * np.exp(noise * np.random.default_rng(0).normal(size=(*gap.shape[:2], n_seeds)))
    return xr.Dataset(
        {
            "loss": (axes, risk[at][:, None, None] + gap),
            "approximation_loss": (axes, gap),
            "bayes_risk_curve": ("every_context_length", risk),
            "intrinsic_dimension_curve": ("every_context_length", [task.intrinsic_dimension(l) for l in every]),
        },
        {"context_length": at, "dataset_size": list(study.dataset_sizes), "seed": range(n_seeds)},
        {"unit": task.unit},
    )


@pytest.mark.parametrize(
    ("name", "outcome"), [("least squares", "law"), ("table of contexts", "law"), ("correlation screening", "none")]
)
def test_a_mechanism_is_known_again_by_its_exact_curves_among_all_laws(name, outcome):
    """Its law is named where it is exact. That of a horizon is a limit: it is the nearest, and rejected."""
    entrant = LAPTOP[name]
    comparison = compare(exact_table(entrant.study, 0.03, 4), laws(entrant.study), n_bootstrap=0)
    assert entrant.law is not None
    assert comparison["law"].values[int(np.nanargmin(comparison["misfit"]))] == entrant.law.name
    told = verdict(comparison)
    assert told.outcome == outcome
    assert told.laws in ((), (entrant.law.name,))


def test_every_regime_has_a_player_and_all_laws_judge_it():
    own = [entrant.law.name for entrant in LAPTOP.values() if entrant.law]
    assert len(set(own)) == 7
    for entrant in LAPTOP.values():
        names = [law.name for law in laws(entrant.study)]
        assert len(set(names)) == (9 if entrant.study.task.unit == "nats" else 8)
        assert entrant.law is None or entrant.law.name in names


def test_the_exact_optimum_is_known_where_the_expected_risk_is():
    study = LAPTOP["least squares"].study
    for D in study.dataset_sizes:
        risks = [
            study.task.bayes_risk(l) * (D - 1) / (D - l - 1) if l < D - 1 else np.inf for l in study.context_lengths
        ]
        assert exact_optimum(study, D) == study.context_lengths[int(np.argmin(risks))]
    assert exact_optimum(LAPTOP["MLP, parities"].study, 1000) is None
