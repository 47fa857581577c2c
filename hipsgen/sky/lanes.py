"""Weighted sums over the pixels under an interpolation kernel, in explicit SIMD vectors.

numba's compiler vectorizes plain loops but not this sum, so it is written here as LLVM vectors,
which LLVM maps to whatever width a processor has. The terms are added in a fixed order with fused
multiply-adds, whose results IEEE 754 defines, so the bytes do not depend on the processor. Without
the compiler (NUMBA_DISABLE_JIT) numpy computes the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

_FLOAT, _INT, _INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_SINGLE = types.float32


def _emit_fma(builder: Any, kind: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a * b + c for float32 or vectors of it, rounded once."""
    name = f"llvm.fma.v{kind.count}f32" if isinstance(kind, ir.VectorType) else "llvm.fma.f32"
    function = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def _emit_shuffle(builder: Any, vector: Any, order: list[int]) -> Any:
    """Emit a vector of the elements at these indices of another."""
    places = ir.Constant(ir.VectorType(_INT, len(order)), order)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _emit_broadcast(builder: Any, kind: Any, value: Any) -> Any:
    """Emit a vector whose elements all have one value."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT, 0))
    return _emit_shuffle(builder, first, [0] * kind.count)


def _emit_load(builder: Any, kind: Any, data: Any, index: Any) -> Any:
    """Emit the load of a float32, or of a vector of them, from element `index` of an array on."""
    place = builder.bitcast(builder.gep(data, [index]), kind.as_pointer())
    value = builder.load(place)
    value.align = 4
    return value


@intrinsic
def _compiled_fma(context, a, b, c):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _emit_fma(builder, _FLOAT, *arguments)

    return _SINGLE(_SINGLE, _SINGLE, _SINGLE), emit


def _numpy_fma(a: Any, b: Any, c: Any) -> Any:
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


fma = _numpy_fma if config.DISABLE_JIT else _compiled_fma


def _emit_load_4x4(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the load of the 4x4 pixels from (j, i) on, as one vector."""
    pixels = context.make_array(signature.args[0])(context, builder, arguments[0])
    stride = cgutils.unpack_tuple(builder, pixels.shape)[1]
    place = builder.add(builder.mul(arguments[1], stride), arguments[2])
    rows = []
    for _ in range(4):
        rows.append(_emit_load(builder, ir.VectorType(_FLOAT, 4), pixels.data, place))
        place = builder.add(place, stride)
    while len(rows) > 1:
        size = 2 * rows[0].type.count
        places = ir.Constant(ir.VectorType(_INT, size), list(range(size)))
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [builder.shuffle_vector(a, b, places) for a, b in pairs]
    return rows[0]


def _emit_extreme(builder: Any, sign: str, vector: Any) -> Any:
    """Emit the lowest ("<") or highest (">") element of a vector without NaN."""
    width = vector.type.count
    while width > 1:
        width //= 2
        low = _emit_shuffle(builder, vector, list(range(width)))
        high = _emit_shuffle(builder, vector, list(range(width, 2 * width)))
        vector = builder.select(builder.fcmp_ordered(sign, high, low), high, low)
    return builder.extract_element(vector, ir.Constant(_INT, 0))


@intrinsic
def _compiled_extremes(context, pixels, j, i):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        square = _emit_load_4x4(context, builder, signature, arguments)
        ends = [_emit_extreme(builder, sign, square) for sign in "<>"]
        return context.make_tuple(builder, signature.return_type, ends)

    return types.UniTuple(_SINGLE, 2)(pixels, types.int64, types.int64), emit


@intrinsic
def _compiled_count(context, pixels, j, i, low, high):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        square = _emit_load_4x4(context, builder, signature, arguments)
        first, last = (_emit_broadcast(builder, square.type, value) for value in arguments[3:])
        inside = builder.and_(
            builder.fcmp_ordered(">=", square, first), builder.fcmp_ordered("<=", square, last)
        )
        bits = builder.bitcast(inside, ir.IntType(16))
        return builder.zext(builder.ctpop(bits), _INDEX)

    return types.int64(pixels, types.int64, types.int64, _SINGLE, _SINGLE), emit


@intrinsic
def _compiled_prefetch(context, pixels, j, i):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, array.shape)[1]
        place = builder.gep(
            array.data, [builder.add(builder.mul(arguments[1], stride), arguments[2])]
        )
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        read, high_locality, data = (ir.Constant(_INT, k) for k in (0, 3, 1))
        builder.call(prefetch, [builder.bitcast(place, byte), read, high_locality, data])
        return context.get_dummy_value()

    return types.void(pixels, types.int64, types.int64), emit


def _numpy_extremes(pixels: Any, j: int, i: int) -> Any:
    square = pixels[j : j + 4, i : i + 4]
    return square.min(), square.max()


def _numpy_prefetch(pixels: Any, j: int, i: int) -> None:
    assert pixels[j, i : i + 1].size == 1


def _numpy_count(pixels: Any, j: int, i: int, low: Any, high: Any) -> Any:
    square = np.asarray(pixels[j : j + 4, i : i + 4])
    return np.count_nonzero((low <= square) & (square <= high))


# (pixels, j, i): prefetch the processor's cache line that holds this pixel
prefetch = _numpy_prefetch if config.DISABLE_JIT else _compiled_prefetch
# (pixels, j, i): lowest and highest of the 4x4 pixels from (j, i) on, none of which is NaN
extremes = _numpy_extremes if config.DISABLE_JIT else _compiled_extremes
# (pixels, j, i, low, high): how many of these lie between low and high, inclusive
count_between = _numpy_count if config.DISABLE_JIT else _compiled_count


def lane_count(taps: int) -> int:
    """Return how many pixels of a row are loaded for a kernel of `taps` pixels: a power of two."""
    return 1 << (taps - 1).bit_length()


def make_sum(taps: int, degree: int) -> Callable[..., Any]:
    """Make the function that sums taps x taps weighted pixels.

    Parameters
    ----------
    taps
        Pixels along a side of the interpolation kernel.
    degree
        Degree of the polynomials that give the weights.

    Returns
    -------
    callable
        total(pixels, j, i, f, coefficients, wy, c), for compiled code, with
        pixels (rows, cols) float32, of which rows of `lane_count(taps)` pixels are loaded from (j,
        i) on: all must be in the array, those beyond the taps do not count;
        f: float32, fraction of a pixel along x;
        coefficients (degree + 1, lanes) float32: weights along x as polynomials of f, lowest power
        first;
        wy (taps, n) float32: weights along y in column c.
        It returns the sum and whether this lies outside the range of the 4x4 pixels around the
        position. The sum is that of the differences from the pixel at or before the position, so
        that float32 rounds only their contrast; it is NaN if one of the taps is NaN.
    """
    lanes, first = lane_count(taps), taps // 2 - 1
    kind = ir.VectorType(_FLOAT, lanes)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixels, coefficients, wy = (
            context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 4, 5)
        )
        _, j, i, f, _, _, c = arguments
        stride = cgutils.unpack_tuple(builder, pixels.shape)[1]
        between = cgutils.unpack_tuple(builder, wy.shape)[1]

        def index(row: Any, width: Any, column: Any) -> Any:
            return builder.add(builder.mul(row, width), column)

        fraction = _emit_broadcast(builder, kind, f)
        start = [ir.Constant(_INDEX, k * lanes) for k in range(degree + 1)]
        wx = _emit_load(builder, kind, coefficients.data, start[degree])
        for k in range(degree - 1, -1, -1):
            power = _emit_load(builder, kind, coefficients.data, start[k])
            wx = _emit_fma(builder, kind, wx, fraction, power)
        rows = [
            _emit_load(
                builder,
                kind,
                pixels.data,
                index(builder.add(j, ir.Constant(_INDEX, r)), stride, i),
            )
            for r in range(taps)
        ]
        base = builder.extract_element(rows[first], ir.Constant(_INT, first))
        center = _emit_broadcast(builder, kind, base)
        columns = ir.Constant(kind, [0.0] * lanes)
        for r in range(taps):
            place = index(ir.Constant(_INDEX, r), between, c)
            weight = _emit_broadcast(builder, kind, _emit_load(builder, _FLOAT, wy.data, place))
            columns = _emit_fma(builder, kind, builder.fsub(rows[r], center), weight, columns)
        # what was loaded beyond the taps is arbitrary, possibly NaN
        taken = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [k < taps for k in range(lanes)])
        columns = builder.select(taken, columns, ir.Constant(kind, [0.0] * lanes))
        products, width = builder.fmul(columns, wx), lanes
        while width > 1:
            width //= 2
            low = _emit_shuffle(builder, products, list(range(width)))
            high = _emit_shuffle(builder, products, list(range(width, 2 * width)))
            products = builder.fadd(low, high)
        total = builder.fadd(builder.extract_element(products, ir.Constant(_INT, 0)), base)
        bits = ir.IntType(lanes)
        middle = ir.Constant(bits, 0b1111 << first - 1)  # selects the 4 central columns
        level, inside = _emit_broadcast(builder, kind, total), ir.Constant(ir.IntType(1), 1)
        for closer, reached in (("<", "<="), (">", ">=")):
            best = rows[first - 1]
            for row in rows[first : first + 3]:
                best = builder.select(builder.fcmp_ordered(closer, row, best), row, best)
            some = builder.bitcast(builder.fcmp_ordered(reached, best, level), bits)
            some = builder.icmp_unsigned("!=", builder.and_(some, middle), ir.Constant(bits, 0))
            inside = builder.and_(inside, some)
        beyond = builder.zext(builder.not_(inside), ir.IntType(8))
        return context.make_tuple(builder, signature.return_type, [total, beyond])

    @intrinsic
    def compiled_sum(context, pixels, j, i, f, coefficients, wy, c):  # type: ignore[no-untyped-def]
        index = types.int64
        parameters = pixels, index, index, _SINGLE, coefficients, wy, index
        return types.Tuple((_SINGLE, types.uint8))(*parameters), emit

    def numpy_sum(pixels: Any, j: int, i: int, f: Any, coefficients: Any, wy: Any, c: int) -> Any:
        rows = np.array([pixels[j + r, i : i + lanes] for r in range(taps)])
        if rows.shape != (taps, lanes):
            raise IndexError(
                f"{taps}x{lanes} pixels from ({j}, {i}) on exceed an array of shape {pixels.shape}"
            )
        wx = coefficients[degree]
        for k in range(degree - 1, -1, -1):
            wx = _numpy_fma(wx, f, coefficients[k])
        base = rows[first, first]
        columns = np.zeros(lanes, np.float32)
        for r in range(taps):
            columns = _numpy_fma(rows[r] - base, wy[r, c], columns)
        columns[taps:] = 0.0
        products = columns * wx
        while len(products) > 1:
            products = products[: len(products) // 2] + products[len(products) // 2 :]
        total = products[0] + base
        neighbors = rows[first - 1 : first + 3, first - 1 : first + 3]
        return total, not neighbors.min() <= total <= neighbors.max()

    return numpy_sum if config.DISABLE_JIT else compiled_sum
