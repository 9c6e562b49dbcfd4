"""Settings of every test: shapes and types are checked, nothing is promoted or broadcast by accident, and examples are
the same each time."""

import atexit
import ctypes
import gc
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# All processes of a test run share compiled programs: those of xdist, and those that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

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

# Tests that plain `pytest` leaves out, and why.
TIERS = {"slow": "slow", "slurm": "that need Slurm"}
COUNTS = pytest.StashKey[dict[str, int]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Count the tests of each tier before -m deselects them."""
    counts = {tier: sum(item.get_closest_marker(tier) is not None for item in items) for tier in TIERS}
    if hasattr(config, "workeroutput"):
        config.workeroutput["tiers"] = counts
    else:
        config.stash[COUNTS] = counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """xdist alone calls this: its workers collect the tests."""
    if "tiers" in getattr(node, "workeroutput", {}):
        node.config.stash[COUNTS] = node.workeroutput["tiers"]


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash.get(COUNTS, {})
    left_out = [f"{counts[tier]} {why} (pytest -m {tier})" for tier, why in TIERS.items() if counts.get(tier)]
    if left_out and config.option.markexpr == " and ".join(f"not {tier}" for tier in TIERS):
        terminalreporter.write_line(f"Left out: {' and '.join(left_out)}.")


class Compiler:
    """Compiles quickly, except for tests of bits and of long trainings, which are marked ``optimised``.

    Most of the time of the tests is compilation. Few optimisations and the older emitters of fused loops make it short.
    Processes that a test starts do as their parent does.
    """

    def __init__(self) -> None:
        self.option = {"xla_cpu_use_fusion_emitters": False}
        self.flags = os.environ.get("XLA_FLAGS", "")
        self.quickly: bool | None = None

    def set(self, quickly: bool) -> None:
        if self.quickly is None and not self.is_known():
            self.option = {}
        if quickly != self.quickly:
            self.quickly = quickly
            os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quickly)
            more = [f"--{name}={value}".lower() for name, value in self.option.items() if quickly]
            os.environ["XLA_FLAGS"] = " ".join([self.flags, *more])
            jax.config.update("jax_disable_most_optimizations", quickly)
            jax.clear_caches()

    def is_known(self) -> bool:
        """Whether this compiler has the option; newer ones have not. XLA_FLAGS are read now, before they change."""
        try:
            jax.jit(lambda x: x, compiler_options=self.option).lower(1.0).compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    def options(self, *arguments, **keywords):
        """JAX has no setting for the emitters in a process that runs, so its compile options are amended."""
        options = _compile_options(*arguments, **keywords)
        if self.quickly:
            options.env_option_overrides = [*options.env_option_overrides, *self.option.items()]
        return options


COMPILER = Compiler()
_compile_options = jax._src.compiler.get_compile_options
jax._src.compiler.get_compile_options = COMPILER.options


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    COMPILER.set(quickly=item.get_closest_marker("optimised") is None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def resident() -> float:
    """Memory of this process in MiB; 0 where the system does not say."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


class Memory:
    """What a process keeps for speed: compiled programs and open figures. It is dropped before it takes gigabytes."""

    kept = 0.0

    def drop(self) -> None:
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
        jax.clear_caches()
        gc.collect()
        # The C library of Linux gives freed memory back to the system only when it is asked to.
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        self.kept = resident()


@pytest.fixture(autouse=True, scope="session")
def memory():
    return Memory()


@pytest.fixture(autouse=True)
def memory_is_dropped_above_a_gigabyte(memory):
    yield
    if resident() > max(1000.0, memory.kept + 200):
        memory.drop()


@pytest.fixture(autouse=True, scope="module")
def memory_is_dropped_after_a_file(memory):
    yield
    memory.drop()
