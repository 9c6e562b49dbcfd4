"""What a program multiplies, counted in its text."""

import math

import jax


def products_of(function, *arguments):
    """Multiplications and additions of all products of matrices in a function, counted in its jaxpr."""

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                ((contracted, _), _) = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2 * equation.outvars[0].aval.size * math.prod(left[i] for i in contracted)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda p: isinstance(p, jax.extend.core.ClosedJaxpr)
            ):
                if isinstance(inner, jax.extend.core.ClosedJaxpr):
                    total += count(inner.jaxpr)
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)
