"""Several devices in one process, and the choice of the platform."""

import os
import subprocess
import sys

import jax
import pytest
import xarray as xr

from simulator import PlatformError, Study, load_results, run
from simulator.learners import GradientDescent
from simulator.machine.platform import check_platform
from simulator.models import MLP
from simulator.tasks import SparseParity

PARITY = SparseParity(((2, 1), (3, 1), (6, 2), (12, 5)), 10)
NARROW = GradientDescent(
    model=MLP(hidden_sizes=(8, 8)), steps=10, batch_size=32, validation_size=256, precision="mixed"
)
WIDE = GradientDescent(
    model=MLP(hidden_sizes=(256, 64)), steps=6, batch_size=512, evaluation_every=3, validation_size=256
)

CHILD = """
import sys
import jax
from simulator import Study, run, save_results
from simulator.training import sweep as engine
assert len(jax.devices()) == 2
save_results(run(Study.from_json(sys.argv[1]), progress=False), sys.argv[2])
print(engine.train_chunk._cache_size())
"""


@pytest.mark.parametrize(
    ("learner", "programs"),
    [(NARROW, 1), pytest.param(WIDE, 2, marks=(pytest.mark.slow, pytest.mark.optimised))],
    ids=["narrow, mixed precision", "wide"],
)
def test_runs_spread_over_two_devices_have_the_numbers_of_one(tmp_path, learner, programs):
    """Every device runs the same program on its own slots. 36 runs fill both. The program is fused differently; after
    10 steps its rounding is below 1e-4 of the loss. It is compiled once, for a wide network once per context length."""
    study = Study(PARITY, learner, (4, 10), (64, 500), seeds=9, test_size=512)
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", CHILD, study.to_json(), str(tmp_path / "results.nc")]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert len(jax.devices()) == 1
    xr.testing.assert_allclose(load_results(tmp_path / "results.nc"), run(study, progress=False), rtol=1e-4)
    assert int(output) == programs


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_a_platform_that_is_not_there_is_an_error_and_never_another_one(platform):
    study = Study(PARITY, NARROW, (1,), (64,), seeds=1)
    with pytest.raises(PlatformError, match=rf"'{platform}' was asked for, but JAX runs on 'cpu'.*pip install"):
        run(study, platform=platform, progress=False)


def test_an_unknown_platform_is_refused():
    check_platform("cpu")
    check_platform(None)
    with pytest.raises(ValueError, match=r"platform must be one of 'cpu', 'gpu', 'tpu'; got 'abacus'"):
        check_platform("abacus")


def test_jax_that_cannot_start_is_one_clear_error(monkeypatch):
    """JAX refuses to start when JAX_PLATFORMS names a platform that is not there."""

    def refuse():
        raise RuntimeError("Unable to initialize backend 'tpu'")

    monkeypatch.setattr(jax, "default_backend", refuse)
    with pytest.raises(PlatformError, match="platform 'tpu' was asked for, and JAX cannot start: Unable to"):
        check_platform("tpu")
