"""Every numba option of the package, its compilation cache, and the few instructions numba lacks.

The ways to compile, and no other:

* ``kernel``: a function that is folded into its compiled callers, never called from Python, and
  allocates nothing; ``folded``: the same, whatever its size; ``maker``: one that allocates.
* ``entry``: a function called from Python; compiled on first use, kept on disk. ``brief``: one that keeps the GIL.
* ``callback``: a small function behind an address, so that a core compiled once runs any metric
  (the address is a value, not a type: a new metric compiles its own formula and nothing else).

Numba keys its cache by one file only, and never finds a closure over another compiled function
again. Here the key is a name that we give, and a digest of the whole package's source: an edited
formula recompiles whatever was compiled with it, and a second process compiles nothing.
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
import numba
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

OPTIONS = {"nogil": True, "error_model": "numpy"}
# Sums may be reordered (several SIMD accumulators); NaN and infinities keep their meaning.
# Only for contiguous loops: on a gather, LLVM's vector gathers are slower than scalar loads.
REORDER = {"fastmath": {"reassoc", "contract", "nsz"}}


@functools.cache
def package_digest() -> str:
    """Digest of every source file of the package, part of each cache key."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class PackageCache(FunctionCache):  # type: ignore[misc]
    """Numba's on-disk cache, keyed by signature, machine and the whole package."""

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (signature, codegen.magic_tuple(), package_digest())


# Never called from Python: without the wrappers for it the first compilation takes a third less.
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# Nor do they own memory: without reference counts (atomic, some 5 ns each) an offer to a heap takes half the time.
kernel = functools.partial(numba.njit, **OPTIONS, **INNER, _nrt=False)
maker = functools.partial(numba.njit, **OPTIONS, **INNER)
# Merged into its one caller before compilation: half a second less of it in all. It then counts references as its
# caller does: merged into an entry, loops that call addresses did (9 % of a search of short rows), so a kernel stands
# between them.
merged = functools.partial(numba.njit, **OPTIONS, **INNER, _nrt=False, inline="always")
# Folded in whatever its size: for what runs once a block, where passing a dozen arrays costs as much as the work.
folded = functools.partial(numba.njit, **OPTIONS, **INNER, _nrt=False, forceinline=True)


def entry(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call, and keep the machine code on disk."""
    dispatcher = numba.njit(**OPTIONS)(function)
    dispatcher._cache = PackageCache(function)
    return dispatcher


def brief(function: Callable[..., Any]) -> Any:
    """Compile an entry that keeps the GIL: for microseconds of work, where giving it away and back costs more.

    Among several Python threads whoever gives it away may wait for it long: 4 threads that ask single queries took
    twice the time of one while five of a query's six entries gave it away.
    """
    dispatcher = numba.njit(**{**OPTIONS, "nogil": False})(function)
    dispatcher._cache = PackageCache(function)
    return dispatcher


def direct(dispatcher: Any) -> Any:
    """The machine code of an entry that has been compiled for one set of types, or the entry itself.

    It asks for the types of no argument (15 us for a dozen named tuples), so it is only for entries whose arguments
    have the same types in every call, from everywhere. Found once: numba's own table hashes all types (130 us).
    """
    found = _direct.get(dispatcher)
    if found is None:
        compiled = list(dispatcher.overloads.values())
        if len(compiled) != 1:
            return dispatcher
        found = _direct[dispatcher] = compiled[0].entry_point
    return found


_direct: dict[Any, Any] = {}


_callbacks: dict[str, CFunc] = {}


def callback(
    function: Callable[..., Any], signature: Any, key: str, *, keep: bool = True, reorder: bool = False
) -> int:
    """Address of `function` compiled for `signature`, from the disk if it was compiled before.

    `key` names the function among all of the package: two functions never share one.
    `keep=False` is for functions closed over a user's code, which the cache cannot follow.
    """
    found = _callbacks.get(key) if keep else None
    if found is None:
        # The name is also the symbol's name: cached code of two closures must never meet under one.
        function.__name__ = function.__qualname__ = key
        found = CFunc(function, (signature.args, signature.return_type), {}, OPTIONS | (REORDER if reorder else {}))
        if keep:
            found._cache = PackageCache(function)
        found.compile()
        _callbacks[key if keep else f"{key}@{found.address}"] = found
    return int(found.address)


def _pointer_or_value(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        return builder.bitcast(make_array(kind)(context, builder, value).data, cgutils.voidptr_t)
    if isinstance(kind, types.BaseTuple):
        array, offset = cgutils.unpack_tuple(builder, value)
        data = make_array(kind[0])(context, builder, array).data
        return builder.bitcast(builder.gep(data, [offset]), cgutils.voidptr_t)
    return value


def _invoke(result: Any) -> Any:
    """Make an intrinsic that calls a callback's address.

    Arrays go as the pointer to their data, a pair (array, offset) as the pointer to that element: a
    slice in its place would cost two atomic reference counts, more than a short posting list.
    """

    def invoke(typing_context: Any, address: Any, arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            unpacked = cgutils.unpack_tuple(builder, values[1])
            arguments = [
                _pointer_or_value(context, builder, kind, value)
                for kind, value in zip(signature.args[1], unpacked, strict=True)
            ]
            kind = ir.FunctionType(
                context.get_value_type(signature.return_type) if result != types.void else ir.VoidType(),
                [a.type for a in arguments],
            )
            function = builder.inttoptr(values[0], kind.as_pointer())
            returned = builder.call(function, arguments)
            return context.get_dummy_value() if result == types.void else returned

        return result(types.int64, arguments), codegen

    return intrinsic(invoke)


call = _invoke(types.void)
call_float = _invoke(types.float64)
call_int = _invoke(types.int64)


@intrinsic
def prefetch(typing_context: Any, array: Any, i: Any) -> Any:
    """Ask for the cache line of ``array[i]``, whether it exists or not."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        i32 = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32]), "llvm.prefetch.p0"
        )
        builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def popcount(typing_context: Any, value: Any) -> Any:
    """Count the ones of an unsigned integer."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return value(value), codegen


@intrinsic
def bits_of(typing_context: Any, value: Any) -> Any:
    """The bits of a float32, as an int32."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def float_of(typing_context: Any, bits: Any) -> Any:
    """The float32 of these bits, an int32."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen
