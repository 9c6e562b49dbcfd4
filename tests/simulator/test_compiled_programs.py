"""Compiled programs are kept in the user's cache, unless the user says otherwise."""

import jax
import pytest
import xarray as xr
from jax.experimental.compilation_cache import compilation_cache

from simulator import Study, run
from simulator.learners import GradientDescent
from simulator.machine import compiled_programs
from simulator.machine.compiled_programs import keep_compiled_programs
from simulator.models import MLP
from simulator.tasks import SparseParity


@pytest.fixture
def no_folder(monkeypatch, tmp_path):
    """As on a fresh machine: JAX has its own defaults, and the user's cache is empty. Returns the latter."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_enable_compilation_cache")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_a_folder_for_this_version_and_processor_is_made_and_set(no_folder, monkeypatch):
    keep_compiled_programs()
    (folder,) = (no_folder / "context-scaling").iterdir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.__version__ in folder.name
    assert jax.config.jax_persistent_cache_min_compile_time_secs < 1  # JAX itself keeps only what took a second
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(compiled_programs.platform, "processor", lambda: "another")
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir != str(folder)


def test_a_folder_that_the_user_set_stays(no_folder):
    jax.config.update("jax_compilation_cache_dir", "mine")
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == "mine"


def test_a_cache_that_is_off_stays_off(no_folder):
    jax.config.update("jax_enable_compilation_cache", False)
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None


def test_where_nothing_can_be_written_nothing_is_kept(no_folder, monkeypatch):
    """The place of the folder is a file, as a stand-in for a HOME that is read-only."""
    (no_folder / "context-scaling").write_text("")
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None
    assert (no_folder / "context-scaling").read_text() == ""


@pytest.mark.slow
def test_a_program_that_is_read_gives_the_bits_of_one_that_is_compiled(no_folder):
    """The second run finds every program on disk, and adds none."""
    learner = GradientDescent(MLP((8,)), steps=40, evaluation_every=20, batch_size=16, validation_size=64)
    study = Study(SparseParity(((2, 1), (3, 1)), 3), learner, (2, 3), (100,), seeds=2, test_size=64)
    tables, kept = [], []
    for _ in range(2):
        jax.clear_caches()
        compilation_cache.reset_cache()
        tables.append(run(study, progress=False))
        kept.append(sorted(path.name for path in no_folder.rglob("*-cache")))
    xr.testing.assert_identical(*tables)
    assert kept[0] == kept[1] != []
