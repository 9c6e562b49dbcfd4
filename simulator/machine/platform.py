"""Which devices JAX found: asked for by name, or refused; never another one in silence."""

import os
from typing import Literal, TypeAlias, get_args

import jax

from theory.checks import check_choice

Platform: TypeAlias = Literal["cpu", "gpu", "tpu"]


class PlatformError(RuntimeError):
    """The platform asked for is not there; the message says what is, and what to install."""


def on_cpu() -> bool:
    """Whether computations run on a CPU."""
    return jax.default_backend() == "cpu"


def check_platform(platform: str | None) -> None:
    """Raise unless JAX runs on the platform asked for; None asks for none.

    Raises:
        PlatformError: JAX found other devices only. It falls back to the CPU by itself, and says so in a warning at
            most.
    """
    if platform is None:
        return
    check_choice("platform", platform, get_args(Platform))
    try:
        found = jax.default_backend()
    except RuntimeError as error:  # JAX_PLATFORMS names one that is not there
        raise PlatformError(f"platform {platform!r} was asked for, and JAX cannot start: {error}") from error
    if found != platform:
        extra = {"gpu": 'pip install "context-scaling[cuda]"', "tpu": 'pip install "context-scaling[tpu]"'}
        remedy = f"install JAX for it ({extra[platform]})" if platform in extra else "set JAX_PLATFORMS=cpu"
        raise PlatformError(
            f"platform {platform!r} was asked for, but JAX runs on {found!r} ({jax.local_devices()[0].device_kind}; "
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}): {remedy}, or ask for {found!r}"
        )
