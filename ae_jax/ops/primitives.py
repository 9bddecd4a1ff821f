"""JAX primitives that are linear in each operand: with derivatives of any order in both modes, lowered per platform.

`jax.custom_vjp` excludes forward mode. Derivatives that JAX derives from the implementations' own slices and sums are
slow: 1.6 times the step of conv-pool, for pooling alone.
"""

import functools
import itertools
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import jax
from jax import lax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

_RANK = 4  # of operands and result; leading dimensions are members, which `jax.vmap` over both operands makes
Shape: TypeAlias = tuple[int, ...]
Implementation: TypeAlias = Callable[[jax.Array, jax.Array, Any], jax.Array]  # the last one: settings
Factor: TypeAlias = tuple[int, int]  # a batch axis of an operand, and the same one of the result, counted from the end
Adjoint: TypeAlias = tuple["LinearPrimitive", Callable[[Any, Any], tuple[Any, Any]]]


class LinearPrimitive:
    """A function of two arrays of four axes, linear in each that is floating-point, as a JAX primitive.

    Args:
      name: its name in a jaxpr.
      result_shape: the shape of the result, from those of the operands and the settings.
      factors: a batch axis of each operand: its slice `i` gives slice `i` of the result. Where their axes of the result
        differ, `jax.vmap` over one operand is the same function on a longer axis; by default, the first axes are one
        batch axis of both operands and the result.
      implementation: `(a, b, settings) → result`.
      on_cpu: another implementation, for CPUs.
    """

    def __init__(
        self,
        name: str,
        result_shape: Callable[[Shape, Shape, Any], Shape],
        implementation: Implementation,
        *,
        on_cpu: Implementation | None = None,
        factors: tuple[Factor, Factor] = ((-_RANK, -_RANK), (-_RANK, -_RANK)),
    ) -> None:
        self._primitive, self._result_shape, self._factors = Primitive(name), result_shape, factors
        self._primitive.def_impl(functools.partial(xla.apply_primitive, self._primitive))
        self._primitive.def_abstract_eval(self._abstract_eval)
        is_shared = factors[0][1] == factors[1][1]
        batching.primitive_batchers[self._primitive] = self._batch_both if is_shared else self._batch
        for platform, function in ((None, implementation), ("cpu", on_cpu or implementation)):
            lowering = mlir.lower_fun(_apply(function), multiple_results=False)
            mlir.register_lowering(self._primitive, lowering, platform=platform)

    def define_adjoints(self, first: Adjoint, second: Adjoint | None = None) -> None:
        """Define the derivatives by the adjoint in each operand; `second` is None if that operand is an integer array.

        An adjoint is a primitive and its operands, as a function of the cotangent and the other operand.
        """

        def rule(adjoint: Adjoint, other: int) -> Callable[..., jax.Array]:
            primitive, arrange = adjoint
            return lambda cotangent, *operands, **settings: primitive._primitive.bind(
                *arrange(cotangent, operands[other]), **settings
            )

        ad.defbilinear(self._primitive, rule(first, 1), rule(second, 0) if second else None)

    def __call__(self, a: jax.Array, b: jax.Array, settings: Hashable) -> jax.Array:
        """Apply the function: on a device, on a mesh with automatic or explicit axes, or inside `jax.shard_map`."""

        def apply(a: jax.Array, b: jax.Array) -> jax.Array:
            if jax.sharding.get_abstract_mesh().manual_axes:
                a, b = _vary_alike(a, b), _vary_alike(b, a)
            precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # made at run time
            return self._primitive.bind(a, b, settings=settings, precision=precision)

        for mesh in (jax.typeof(operand).sharding.mesh for operand in (a, b)):
            if mesh.explicit_axes:
                sharding = NamedSharding(mesh, self._result_spec(a, b))
                return jax.sharding.auto_axes(apply, axes=mesh.explicit_axes, out_sharding=sharding)(a, b)
        return apply(a, b)

    def _result_spec(self, *operands: jax.Array) -> P:
        """Shard the result's batch axes as the operands'; where both use a mesh axis, the first has it."""
        spec: list[tuple[str, ...]] = [()] * _RANK
        for operand, (axis, result_axis) in zip(operands, self._factors, strict=True):
            names = jax.typeof(operand).sharding.spec[axis] or ()
            names = names if isinstance(names, tuple) else (names,)
            spec[result_axis] += tuple(name for name in names if name not in itertools.chain(*spec))
        return P(*spec)

    def _abstract_eval(self, a: Any, b: Any, *, settings: Hashable, precision: str | None) -> Any:
        del precision
        shape = self._result_shape(a.shape[-_RANK:], b.shape[-_RANK:], settings)
        return a.update(shape=(*a.shape[:-_RANK], *shape), weak_type=False)

    def _batch(self, operands: Any, axes: Any, **settings: Any) -> tuple[jax.Array, int]:
        if None not in axes:
            members = [jnp.moveaxis(operand, axis, 0) for operand, axis in zip(operands, axes, strict=True)]
            return self._primitive.bind(*members, **settings), 0
        mapped = axes.index(None) ^ 1
        (axis, result_axis), arguments = self._factors[mapped], list(operands)
        arguments[mapped], sizes = _merge(operands[mapped], axes[mapped], axis)
        return _split(self._primitive.bind(*arguments, **settings), sizes, result_axis)

    def _batch_both(self, operands: Any, axes: Any, **settings: Any) -> tuple[jax.Array, int]:
        (size,) = {operand.shape[axis] for operand, axis in zip(operands, axes, strict=True) if axis is not None}
        front = [batching.bdim_at_front(operand, axis, size) for operand, axis in zip(operands, axes, strict=True)]
        (a, sizes), (b, _) = (_merge(operand, 0, -_RANK) for operand in front)
        return _split(self._primitive.bind(a, b, **settings), sizes, -_RANK)


def _apply(implementation: Implementation) -> Callable[..., jax.Array]:
    def apply(a: jax.Array, b: jax.Array, *, settings: Hashable, precision: str | None) -> jax.Array:
        def function(a: jax.Array, b: jax.Array) -> jax.Array:
            return implementation(a, b, settings)

        for _ in range(a.ndim - _RANK):
            function = jax.vmap(function)
        with jax.default_matmul_precision(precision):
            return function(a, b)

    return apply


def _vary_alike(array: jax.Array, other: jax.Array) -> jax.Array:
    """`array`, marked as varying over the mesh axes of `jax.shard_map` over which `other` varies.

    It is updated with an empty slice of `other`, as the name of JAX's function for this differs between versions.
    """
    empty = lax.slice(other, (0,) * other.ndim, (0,) * other.ndim).astype(array.dtype)
    return lax.dynamic_update_slice(array, empty, (0,) * array.ndim)


def _merge(array: jax.Array, axis: int, into: int) -> tuple[jax.Array, Shape]:
    """Merge an axis into another, which is counted from the end of the remaining ones; return also both sizes."""
    moved = jnp.moveaxis(array, axis, into - 1)
    start = moved.ndim + into - 1
    return lax.collapse(moved, start, start + 2), moved.shape[start : start + 2]


def _split(array: jax.Array, sizes: Shape, axis: int) -> tuple[jax.Array, int]:
    """Split an axis into those that `_merge` has merged, and return the position of the first."""
    position = array.ndim + axis
    return array.reshape(*array.shape[:position], *sizes, *array.shape[position + 1 :]), position
