"""Checksums over the pixels under a kernel, a row of them at a time: what a processor's vectors are for.

numba's compiler finds vector instructions in plain loops, but not in this sum: here they are
written down, as LLVM's own vectors, which every processor has in one width or another. Checksums are
taken in one order, with fused multiply-adds, whose results IEEE 754 fixes; so the bytes do not
depend on the processor. Without the compiler (NUMBA_DISABLE_JIT) the same is done by numpy.
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


def _fused(builder: Any, kind: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float32 or of vectors of it, rounded once."""
    name = f"llvm.fma.v{kind.count}f32" if isinstance(kind, ir.VectorType) else "llvm.fma.f32"
    function = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def _shuffled(builder: Any, vector: Any, order: list[int]) -> Any:
    """The elements of a vector at these places."""
    places = ir.Constant(ir.VectorType(_INT, len(order)), order)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _spread(builder: Any, kind: Any, value: Any) -> Any:
    """A vector of one value."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT, 0))
    return _shuffled(builder, first, [0] * kind.count)


def _loaded(builder: Any, kind: Any, data: Any, index: Any) -> Any:
    """A number or a vector of float32 from an array, from element `index` on."""
    place = builder.bitcast(builder.gep(data, [index]), kind.as_pointer())
    value = builder.load(place)
    value.align = 4
    return value


@intrinsic
def _compiled_fma(context, a, b, c):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _fused(builder, _FLOAT, *arguments)

    return _SINGLE(_SINGLE, _SINGLE, _SINGLE), emit


def _plain_fma(a: Any, b: Any, c: Any) -> Any:
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


fma = _plain_fma if config.DISABLE_JIT else _compiled_fma


def _square(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The 4x4 pixels from (j, i) on, as one vector."""
    pixels = context.make_array(signature.args[0])(context, builder, arguments[0])
    stride = cgutils.unpack_tuple(builder, pixels.shape)[1]
    place = builder.add(builder.mul(arguments[1], stride), arguments[2])
    rows = []
    for _ in range(4):
        rows.append(_loaded(builder, ir.VectorType(_FLOAT, 4), pixels.data, place))
        place = builder.add(place, stride)
    while len(rows) > 1:
        size = 2 * rows[0].type.count
        places = ir.Constant(ir.VectorType(_INT, size), list(range(size)))
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [builder.shuffle_vector(a, b, places) for a, b in pairs]
    return rows[0]


def _best(builder: Any, sign: str, vector: Any) -> Any:
    """The lowest ("<") or highest (">") element of a vector, of which none is NaN."""
    width = vector.type.count
    while width > 1:
        width //= 2
        low = _shuffled(builder, vector, list(range(width)))
        high = _shuffled(builder, vector, list(range(width, 2 * width)))
        vector = builder.select(builder.fcmp_ordered(sign, high, low), high, low)
    return builder.extract_element(vector, ir.Constant(_INT, 0))


@intrinsic
def _compiled_extremes(context, pixels, j, i):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        square = _square(context, builder, signature, arguments)
        ends = [_best(builder, sign, square) for sign in "<>"]
        return context.make_tuple(builder, signature.return_type, ends)

    return types.UniTuple(_SINGLE, 2)(pixels, types.int64, types.int64), emit


@intrinsic
def _compiled_count(context, pixels, j, i, low, high):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        square = _square(context, builder, signature, arguments)
        first, last = (_spread(builder, square.type, value) for value in arguments[3:])
        inside = builder.and_(
            builder.fcmp_ordered(">=", square, first), builder.fcmp_ordered("<=", square, last)
        )
        bits = builder.bitcast(inside, ir.IntType(16))
        return builder.zext(builder.ctpop(bits), _INDEX)

    return types.int64(pixels, types.int64, types.int64, _SINGLE, _SINGLE), emit


@intrinsic
def _compiled_fetch(context, pixels, j, i):  # type: ignore[no-untyped-def]
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, array.shape)[1]
        place = builder.gep(
            array.data, [builder.add(builder.mul(arguments[1], stride), arguments[2])]
        )
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        fetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        read, soon, data = (ir.Constant(_INT, k) for k in (0, 3, 1))
        builder.call(fetch, [builder.bitcast(place, byte), read, soon, data])
        return context.get_dummy_value()

    return types.void(pixels, types.int64, types.int64), emit


def _plain_extremes(pixels: Any, j: int, i: int) -> Any:
    square = pixels[j : j + 4, i : i + 4]
    return square.min(), square.max()


def _plain_fetch(pixels: Any, j: int, i: int) -> None:
    assert pixels[j, i : i + 1].size == 1


def _plain_count(pixels: Any, j: int, i: int, low: Any, high: Any) -> Any:
    square = np.asarray(pixels[j : j + 4, i : i + 4])
    return np.count_nonzero((low <= square) & (square <= high))


# (pixels, j, i): have the processor bring this pixel, and those in the same line of its cache
fetch = _plain_fetch if config.DISABLE_JIT else _compiled_fetch
# (pixels, j, i): lowest and highest of the 4x4 pixels, all valid, from (j, i) on
extremes = _plain_extremes if config.DISABLE_JIT else _compiled_extremes
# (pixels, j, i, low, high): how many of them are from low to high
count_between = _plain_count if config.DISABLE_JIT else _compiled_count


def lanes_of(taps: int) -> int:
    """How many pixels of a row are read for so many taps."""
    return 1 << (taps - 1).bit_length()


def make_sum(taps: int, degree: int) -> Callable[..., Any]:
    """The sum over taps x taps pixels, of which it reads rows of `lanes_of(taps)`.

    total(pixels, j, i, f, coefficients, wy, c) for pixels (rows, cols) float32, (j, i) the first
    of them; all that are read must be in the array, those beyond the taps count for nothing. f:
    float32, the fraction of a pixel along x. coefficients (degree + 1, lanes) float32: those of the
    weights along x as polynomials of f, lowest power first. wy (taps, n) float32: weights along y
    in column c. Comes back: the sum, of differences from the pixel beneath the position, whose
    contrast is rounded then, NaN if one of the taps is NaN; and whether it lies beyond all of the
    4x4 pixels round the position.
    """
    lanes, first = lanes_of(taps), taps // 2 - 1
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

        fraction = _spread(builder, kind, f)
        start = [ir.Constant(_INDEX, k * lanes) for k in range(degree + 1)]
        wx = _loaded(builder, kind, coefficients.data, start[degree])
        for k in range(degree - 1, -1, -1):
            power = _loaded(builder, kind, coefficients.data, start[k])
            wx = _fused(builder, kind, wx, fraction, power)
        rows = [
            _loaded(
                builder,
                kind,
                pixels.data,
                index(builder.add(j, ir.Constant(_INDEX, r)), stride, i),
            )
            for r in range(taps)
        ]
        base = builder.extract_element(rows[first], ir.Constant(_INT, first))
        beneath = _spread(builder, kind, base)
        columns = ir.Constant(kind, [0.0] * lanes)
        for r in range(taps):
            place = index(ir.Constant(_INDEX, r), between, c)
            weight = _spread(builder, kind, _loaded(builder, _FLOAT, wy.data, place))
            columns = _fused(builder, kind, builder.fsub(rows[r], beneath), weight, columns)
        # what was read beyond the taps may be NaN, or anything
        taken = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [k < taps for k in range(lanes)])
        columns = builder.select(taken, columns, ir.Constant(kind, [0.0] * lanes))
        products, width = builder.fmul(columns, wx), lanes
        while width > 1:
            width //= 2
            low = _shuffled(builder, products, list(range(width)))
            high = _shuffled(builder, products, list(range(width, 2 * width)))
            products = builder.fadd(low, high)
        total = builder.fadd(builder.extract_element(products, ir.Constant(_INT, 0)), base)
        bits = ir.IntType(lanes)
        middle = ir.Constant(bits, 0b1111 << first - 1)  # of the columns
        level, inside = _spread(builder, kind, total), ir.Constant(ir.IntType(1), 1)
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
    def compiled(context, pixels, j, i, f, coefficients, wy, c):  # type: ignore[no-untyped-def]
        index = types.int64
        given = pixels, index, index, _SINGLE, coefficients, wy, index
        return types.Tuple((_SINGLE, types.uint8))(*given), emit

    def plain(pixels: Any, j: int, i: int, f: Any, coefficients: Any, wy: Any, c: int) -> Any:
        rows = np.array([pixels[j + r, i : i + lanes] for r in range(taps)])
        if rows.shape != (taps, lanes):
            raise IndexError(f"pixels beyond column {i} are not in an array of {pixels.shape}")
        wx = coefficients[degree]
        for k in range(degree - 1, -1, -1):
            wx = _plain_fma(wx, f, coefficients[k])
        base = rows[first, first]
        columns = np.zeros(lanes, np.float32)
        for r in range(taps):
            columns = _plain_fma(rows[r] - base, wy[r, c], columns)
        columns[taps:] = 0.0
        products = columns * wx
        while len(products) > 1:
            products = products[: len(products) // 2] + products[len(products) // 2 :]
        total = products[0] + base
        around = rows[first - 1 : first + 3, first - 1 : first + 3]
        return total, not around.min() <= total <= around.max()

    return plain if config.DISABLE_JIT else compiled
