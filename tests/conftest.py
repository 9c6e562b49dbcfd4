"""Settings of every test: shapes and types are checked, nothing is promoted or broadcast by accident, and examples are
the same each time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401  (the hook looks it up by name)

install_import_hook(["theory", "simulator", "figures"], "tests.typecheck.checked")

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile(
    "exact", deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("exact")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="session")
def children_share_compiled_programs(tmp_path_factory):
    """Processes that tests start compile the same few programs. JAX has read its settings here: these tests compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Thousands of programs are compiled in one process; kept to the end they take gigabytes."""
    yield
    jax.clear_caches()
