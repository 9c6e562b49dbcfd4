"""Slopes of the loss over the entropy, where they are known."""

import numpy as np
import pytest

from paper_reproduction.linear_entropy_law.make import SETTINGS, relative_slopes
from simulator.tasks import Renewal, SparseParity


def exact(task, lengths):
    return (np.array([of(l) for l in lengths]) for of in (task.bayes_risk, task.intrinsic_entropy))


@pytest.mark.parametrize("scale", SETTINGS)
def test_parities_have_the_slopes_of_their_frequencies(scale):
    """Each adds ln 2 to the entropy and takes its frequency times ln 2 off the risk: so equal ones are linear."""
    setting = SETTINGS[scale]
    pairs, L = tuple((far, 1) for far in setting.context_lengths), setting.context_lengths[-1]
    falling = setting.tasks()["parities, frequency k^-1.15"]
    np.testing.assert_allclose(relative_slopes(*exact(SparseParity(pairs, L), setting.context_lengths)), 1)
    added = np.arange(2.0, len(pairs) + 1) ** -1.15
    np.testing.assert_allclose(relative_slopes(*exact(falling, setting.context_lengths)), added / added.mean())


def test_of_a_renewal_process_the_slope_falls_without_end():
    """The values known come from a sum over gaps that is independent of the task's."""
    lengths = [2**i for i in range(10)]
    risk, entropy = exact(Renewal(1.5, 512, max_gap=2_000_000), lengths)
    known = np.array([0.0931, 0.0539, 0.0273, 0.0128, 0.0058, 0.0026, 0.0012, 0.0005, 0.0002])
    np.testing.assert_allclose(-np.diff(risk) / np.diff(entropy), known, atol=6e-5)
    assert np.all(np.diff(relative_slopes(risk, entropy)) < 0)
