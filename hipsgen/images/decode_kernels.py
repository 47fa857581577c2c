"""Compiled loops that turn the bytes of a FITS file into pixels; `decode` calls them.

They release the GIL and trust shapes and types, but not what the bytes say: a stream that is
damaged is reported, and nothing outside of it is touched.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hipsgen.sky.compiled import kernel

_U = np.uint64
# of the C library: a call from here, line by line, costs less than one from Python
_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.voidptr, types.int64, types.int64)
)
_INFINITE = np.float32(np.inf)
_LOW32 = np.uint64(0xFFFFFFFF)
PADDING = 8  # bytes that must follow the last stream: `rice_decompress` looks ahead by so many
# SUBTRACTIVE_DITHER_2 keeps this number for values of exactly zero (FITS 4.0, section 10.2.1)
_ZERO = -2147483646


@intrinsic
def _leading_zeros(context, number):  # type: ignore[no-untyped-def]
    """Of a uint64, as int64; 64 for zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], cgutils.false_bit)

    return types.int64(types.uint64), emit


@njit(nogil=True)
def _more(stream, at, bits, have):  # type: ignore[no-untyped-def]
    """32 more bits behind the `have` (under 32) that stand leftmost in `bits`."""
    word = _U(0)
    for k in range(4):
        word = word << _U(8) | _U(stream[at + k])
    return at + 4, bits | word << _U(32 - have), have + 32


@kernel
def rice_decompress(stream, which, begins, ends, counts, block, width, words):  # type: ignore[no-untyped-def]
    """Undo RICE_1 (FITS 4.0, section 10.4.1): stream[begins[t]:ends[t]] for every t in `which`.

    counts: pixels of each; block: pixels that share a number of low bits; width: bytes of a
    pixel, 1, 2 or 4. Fills words[t, :counts[t]], int32; values of 1 and 2 bytes have no sign.
    Returns whether all streams end where their pixels do.
    """
    size_bits = 5 if width == 4 else (4 if width == 2 else 3)
    raw = 25 if width == 4 else (14 if width == 2 else 6)
    pixel_bits = 8 * width
    wrap = _LOW32 >> _U(32 - pixel_bits)
    one = _U(1)
    for t in which:
        at, end = begins[t], ends[t]
        furthest = end + 4  # who needs bits from there has used up more than there are
        if end - at < width:
            return False
        value = _U(0)
        for k in range(width):
            value = value << _U(8) | _U(stream[at + k])
        at += width
        bits, have = _U(0), 0
        for first in range(0, counts[t], block):
            last = min(first + block, counts[t])
            if have < 32:
                if at >= furthest:
                    return False
                at, bits, have = _more(stream, at, bits, have)
            low = np.int64(bits >> _U(64 - size_bits)) - 1
            bits <<= _U(size_bits)
            have -= size_bits
            if low < 0:  # no pixel differs from the one before
                for i in range(first, last):
                    words[t, i] = np.int32(value)
                continue
            for i in range(first, last):
                if have < 32:
                    if at >= furthest:
                        return False
                    at, bits, have = _more(stream, at, bits, have)
                if low == raw:
                    step = bits >> _U(64 - pixel_bits)
                    bits <<= _U(pixel_bits)
                    have -= pixel_bits
                else:
                    zeros = _leading_zeros(bits)
                    length = zeros + 1 + low
                    if length <= have:
                        # the code is its zeros, a one and the low bits
                        step = (_U(zeros - 1) << _U(low)) + (bits >> _U(64 - length))
                        bits <<= _U(length)
                        have -= length
                    else:
                        before = 0
                        while zeros >= have:
                            before += have
                            if at >= furthest:
                                return False
                            at, bits, have = _more(stream, at, _U(0), 0)
                            zeros = _leading_zeros(bits)
                        bits <<= _U(zeros + 1)
                        have -= zeros + 1
                        if have < 32:
                            if at >= furthest:
                                return False
                            at, bits, have = _more(stream, at, bits, have)
                        # in two shifts, since one by 64 is not defined
                        step = (_U(before + zeros) << _U(low)) + (bits >> one >> _U(63 - low))
                        bits <<= _U(low)
                        have -= low
                # steps alternate in sign: 0, -1, 1, -2 ...
                value = (value + (step >> one ^ (_U(0) - (step & one)))) & wrap
                words[t, i] = np.int32(value)
        if at - have // 8 != end:
            return False
    return True


@kernel
def unpack(data, shuffled, words):  # type: ignore[no-untyped-def]
    """Big-endian numbers of 1, 2 or 4 bytes to int32, those of 1 and 2 bytes without a sign.

    data: uint8, all numbers one after the other; shuffled: all first bytes, all second bytes ...
    words: int32 (n,).
    """
    n = words.size
    width = data.size // n
    if width == 4 and shuffled:
        first, second, third, fourth = data[:n], data[n : 2 * n], data[2 * n : 3 * n], data[3 * n :]
        for i in range(n):
            words[i] = (
                np.int32(first[i]) << 24
                | np.int32(second[i]) << 16
                | np.int32(third[i]) << 8
                | np.int32(fourth[i])
            )
    elif width == 4:
        for i in range(n):
            words[i] = (
                np.int32(data[4 * i]) << 24
                | np.int32(data[4 * i + 1]) << 16
                | np.int32(data[4 * i + 2]) << 8
                | np.int32(data[4 * i + 3])
            )
    else:
        ahead, apart = (1, n) if shuffled else (width, 1)
        for i in range(n):
            word = np.int64(0)
            for k in range(width):
                word = word << 8 | np.int64(data[i * ahead + k * apart])
            words[i] = word


@kernel
def read_lines(handle, start, stride, width, words):  # type: ignore[no-untyped-def]
    """LineReporter of big-endian numbers of 1, 2 or 4 bytes from a file; see `unpack`.

    start: of the first line in the file, stride: from one to the next, bytes. words: int32 (lines,
    numbers). Gives back whether all could be read.
    """
    rows, cols = words.shape
    line = np.empty(width * cols, np.uint8)
    for j in range(rows):
        if _pread(handle, line.ctypes, line.size, start + j * stride) != line.size:
            return False
        for i in range(cols):
            word = np.int32(0)
            for k in range(width):
                word = word << 8 | np.int32(line[i * width + k])
            words[j, i] = word
    return True


@kernel
def place_lines(handle, start, stride, window, blank, scale, out):  # type: ignore[no-untyped-def]
    """`place` of lines of big-endian float32 from a file; see `read_lines`.

    window: first row and column in the output, number of rows and columns.
    """
    row, col, rows, cols = window
    line = np.empty(4 * cols, np.uint8)
    words = line.view(np.uint32)
    for j in range(rows):
        if _pread(handle, line.ctypes, line.size, start + j * stride) != line.size:
            return False
        values = out[row + j, col : col + cols]
        for i in range(cols):
            word = words[i]
            low = word << np.uint32(24) | (word & np.uint32(0xFF00)) << np.uint32(8)
            high = word >> np.uint32(24) | (word >> np.uint32(8) & np.uint32(0xFF00))
            pixel = np.uint32(low | high).view(np.float32)
            product = pixel * scale
            there = pixel != blank and abs(product) < _INFINITE
            values[i] = product if there else np.float32(np.nan)
    return True


@kernel
def dequantize(words, which, counts, scales, zeros, blanks, dither, rows, randoms, values):  # type: ignore[no-untyped-def]
    """Quantised tiles words[t, :counts[t]], int32, to values, float32, for every t in `which`.

    FITS 4.0, section 10.2. scales, zeros, blanks: of each tile; what equals its blank is NaN.
    dither: method 1 or 2, 0 for none; rows: ZDITHER0 - 1 plus the number of each tile;
    randoms: float32 (10000,).
    """
    for t in which:
        scale, zero, blank = scales[t], zeros[t], blanks[t]
        row = rows[t]
        first = 0
        while first < counts[t]:
            row %= randoms.size
            start = int(randoms[row] * np.float32(500))
            last = min(counts[t], first + randoms.size - start)
            tile, random, out = words[t, first:last], randoms[start:], values[t, first:last]
            for i in range(tile.size):
                word = tile[i]
                value = np.float64(word)
                if dither > 0:
                    value = value - np.float64(random[i]) + 0.5
                value = value * scale + zero
                if dither == 2 and word == _ZERO:
                    value = np.float64(0.0)
                out[i] = np.float32(np.nan if word == blank else value)
            row += 1
            first = last


@kernel
def place(block, window, blank, scale, out):  # type: ignore[no-untyped-def]
    """Part of a block, float32, times `scale` to the output, float32.

    NaN where it equals `blank` or is not finite. window: first row and column in the block, the
    same in the output, number of rows and columns.
    """
    top, left, row, col, rows, cols = window
    for j in range(rows):
        pixels, values = block[top + j, left : left + cols], out[row + j, col : col + cols]
        for i in range(cols):
            product = pixels[i] * scale
            there = pixels[i] != blank and abs(product) < _INFINITE
            values[i] = product if there else np.float32(np.nan)


@kernel
def apply_mask(block, window, bits, out):  # type: ignore[no-untyped-def]
    """NaN into the output where a block of a mask, int32, has one of `bits` set; see `place`."""
    top, left, row, col, rows, cols = window
    for j in range(rows):
        flags, values = block[top + j, left : left + cols], out[row + j, col : col + cols]
        for i in range(cols):
            values[i] = np.float32(np.nan) if flags[i] & bits else values[i]
