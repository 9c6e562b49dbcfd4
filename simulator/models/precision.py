"""The product of a layer, in the precision that the learner asks for."""

import functools
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Precision: TypeAlias = Literal["float32", "mixed"]
"""``"float32"``, or ``"mixed"``: factors are rounded to bfloat16, and their products are summed in float32."""


def linear(
    inputs: Float[Array, "B i"], kernel: Float[Array, "i o"], bias: Float[Array, "o"], precision: Precision
) -> Float[Array, "B o"]:
    """The layer inputs @ kernel + bias.

    Mixed precision rounds the factors of all three products (the layer and its two gradients) to bfloat16, which has
    8 significant bits. The product of two such numbers is exact in float32, and float32 holds the sums. A rounded
    factor is off by at most 2^-9 of itself, and a product by about 2^-8. Parameters, biases and the result stay
    float32. Inputs that 8 bits hold exactly, such as bits and one-hot vectors, do not change.
    """
    return _linear(inputs, kernel, bias, precision)  # pyright: ignore[reportReturnType]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _linear(inputs: Array, kernel: Array, bias: Array, precision: Precision) -> Array:
    return _forward(inputs, kernel, bias, precision)[0]


def _forward(inputs: Array, kernel: Array, bias: Array, precision: Precision) -> tuple[Array, tuple[Array, Array]]:
    factors = _factor(inputs, precision), _factor(kernel, precision)
    if precision == "mixed":
        # Samples may have been drawn token by token: without a barrier their transposition would be folded into the
        # product, which a CPU does not have in bfloat16 (see below).
        factors = jax.lax.optimization_barrier(factors[0]), factors[1]
    return _product(*factors) + bias[None, :], factors


def _backward(precision: Precision, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    inputs, kernel = saved
    factor = _factor(gradient, precision)
    if kernel.shape[1] == 1:
        # One column is no matrix product: multiplying and summing is faster.
        inputs, kernel, factor = (array.astype(jnp.float32) for array in (inputs, kernel, factor))
        return factor * kernel.T, jnp.sum(inputs * factor, axis=0)[:, None], jnp.sum(factor, axis=0)
    # On a CPU only the product of two matrices in row-major order is fast in bfloat16, and the same to the bit on any
    # number of threads; but the compiler folds a transposition into a product. It cannot where rows are joined to the
    # transposed matrix. The bias is the weight of an input of one.
    ones = jnp.ones((1, inputs.shape[0]), inputs.dtype)
    of_both = _product(jnp.concatenate([inputs.T, ones]), factor)
    turned = jnp.pad(kernel.T, ((0, 1), (0, 0)))[:-1]
    return _product(factor, turned), of_both[:-1], of_both[-1]


_linear.defvjp(_forward, _backward)


def _factor(array: Array, precision: Precision) -> Array:
    return array.astype(jnp.bfloat16 if precision == "mixed" else jnp.float32)


def _product(a: Array, b: Array) -> Array:
    if a.dtype != jnp.bfloat16 or _cpu_has_mixed_product():
        return _dot(a, b)
    # The same numbers, except for the order of the sum.
    return jax.lax.platform_dependent(
        a, b, cpu=lambda a, b: _dot(a.astype(jnp.float32), b.astype(jnp.float32)), default=_dot
    )


def _dot(a: Array, b: Array) -> Array:
    return jax.lax.dot(a, b, precision="highest", preferred_element_type=jnp.float32)


@functools.cache
def _cpu_has_mixed_product() -> bool:
    """Whether the CPU multiplies bfloat16 into float32. One without such instructions may refuse.

    A process that JAX lets see no CPU computes nothing on one.
    """
    try:
        with jax.ensure_compile_time_eval(), jax.default_device(jax.local_devices(backend="cpu")[0]):
            factors = jnp.ones((8, 8), jnp.bfloat16)
            jax.block_until_ready(jax.lax.dot(factors, factors, preferred_element_type=jnp.float32))
    except RuntimeError:  # of a missing CPU, or of a refused product
        return False
    return True
