# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Section 4 of "Intrinsic Entropy of Context Length Scaling in LLMs"
#
# The synthetic part of arXiv 2502.01481, with the exact value beside every measured one that has one: the Bayes risk,
# a Transformer that is to reach it at every context length (Table 1), and what the features of a network say of
# intrinsic dimension and entropy. Every cell skips the networks that are trained already.

# %% [markdown]
# ## Where this runs
#
# The next cell installs the package if it is missing, and leaves the `jax` of the runtime as it is. Change what stands
# in capitals, or set the environment variable of that name:
#
# * `SOURCE`: what `pip` installs from: a folder, such as a clone on a drive, or `git+https://...`;
# * `STORE`: where finished runs are kept. On Colab put it on a drive, for instance
#   `/content/drive/MyDrive/context_scaling`, and a lost session costs nothing: the run cell skips what is there;
# * `ACCELERATOR`: `cpu`, `gpu` or `tpu` to insist on one, `any` to take what there is;
# * `SCALE`: `smoke` (a minute, for a look), `laptop`, or `paper`.

# %%
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("SOURCE", "../..")
STORE = pathlib.Path(os.environ.get("STORE", "results"))
ACCELERATOR = os.environ.get("ACCELERATOR", "any")
SCALE = os.environ.get("SCALE", "laptop")

if importlib.util.find_spec("paper_reproduction") is None:
    installed = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        kept.writelines(f"{name}=={installed[name]}\n" for name in ("jax", "jaxlib") if name in installed)
        kept.flush()
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", SOURCE, "--constraint", kept.name], check=True
        )

import jax

if ACCELERATOR != "any" and jax.default_backend() != ACCELERATOR:
    raise RuntimeError(
        f"ACCELERATOR is {ACCELERATOR!r}, but JAX runs on {jax.default_backend()!r}: choose a runtime that has one "
        "(Runtime > Change runtime type), or set ACCELERATOR to 'any'"
    )
for name in ("context-scaling", "jax", "flax", "optax", "numpy"):
    print(f"{name:16}{importlib.metadata.version(name)}")
print(f"{'devices':16}{', '.join(str(device.device_kind) for device in jax.devices())}")

# %%
# %matplotlib inline

# %% [markdown]
# ## The Bayes risk
#
# Of the task of version 4 (60 bits, 100 questions, nearer ones asked more often), and of the 50 pairs of version 1: the
# exact sum, a closed form, and the loss of the Bayes predictor on samples.

# %%
import figures
from paper_reproduction.reproduction import load
from simulator.machine.workers import best_workers


def measured(name):
    """The tables of a reproduction; parts that are finished are read."""
    workers = 1 if SCALE == "smoke" else best_workers()
    return load(name).make(SCALE, STORE / SCALE / name, workers).tables


risks = measured("bayes_risks")
figures.draw_curves(risks["bayes_risk_of_v4"], "60 bits, 100 questions")[0]

# %%
figures.draw_curves(risks["bayes_risk_of_v1"], "the 50 published pairs")[0]

# %% [markdown]
# ## One Transformer for all context lengths (Table 1)
#
# How far above the Bayes risk it is, in nats, at each length that it is shown.

# %%
transformer = measured("transformer_v4")
figures.draw_curves(transformer["table_1"], "Table 1, as a distance from the Bayes risk")[0]

# %%
figures.draw_curves(transformer["decomposition"], "the loss and its two terms")[0]

# %% [markdown]
# ## Its features
#
# Eigenvalues of the covariance, by context length, and the loss against entropies read off them.

# %%
figures.draw_curves(transformer["eigenvalues"], "features of the Transformer")[0]

# %%
figures.draw_curves(transformer["loss_against_entropy"], "features of the Transformer")[0]

# %% [markdown]
# ## Dimension, where it is known
#
# The context branch of the two-branch network does not know the question, so its features must hold every parity that
# can be asked for. Exactly, the loss falls by ln 2 / 50 with each.

# %%
branches = measured("two_branch")
figures.draw_curves(branches["dimension_against_parities"], "features of the two-branch network")[0]

# %%
figures.draw_curves(branches["slope_on_dimension"], "features of the two-branch network")[0]

# %%
figures.draw_curves(branches["dimension_at_thresholds"], "features of the two-branch network")[0]
