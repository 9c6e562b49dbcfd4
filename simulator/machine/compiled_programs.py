"""Compiled programs on disk: the second start of a study compiles nothing again."""

import contextlib
import hashlib
import os
import pathlib
import platform
from typing import Any

import jax

_WORTH_KEEPING = 0.1
"""Seconds of compilation from which a program is kept."""


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in a folder of the user's cache, ``~/.cache/context-scaling`` or that below
    ``XDG_CACHE_HOME``.

    Nothing changes where a folder was set (``JAX_COMPILATION_CACHE_DIR``), where JAX's cache is off
    (``JAX_ENABLE_COMPILATION_CACHE=false``), or where the folder cannot be written. A program is the same whether it
    was compiled or read, so numbers are the same to the bit. Machines whose processors differ have folders of their
    own: a program of one may not run on another.
    """
    settings: Any = jax.config
    if settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache:
        return
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    folder = pathlib.Path(home) / "context-scaling" / f"jax-{jax.__version__}-{_processor()}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)


def _processor() -> str:
    """A name for what the processor can do."""
    features = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        features += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(features).encode()).hexdigest()[:12]
