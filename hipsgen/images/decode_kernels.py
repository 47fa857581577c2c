"""Compiled loops that decode the bytes of FITS files into pixels, called by `decode`.

They release the GIL and rely on shapes and types, but not on the content: a damaged stream is
reported, and nothing outside it is read or written.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hipsgen.sky.compiled import kernel

_U = np.uint64
# pread of the C library: calling it for each row from here costs less than from Python
_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.voidptr, types.int64, types.int64)
)
_INFINITE = np.float32(np.inf)
HUGE = np.float32(3e38)  # programs mark missing data by the largest float32, 3.4e38, of either sign
_LOW32 = np.uint64(0xFFFFFFFF)
PADDING = 8  # bytes that must follow the last stream, since `rice_decompress` reads ahead
# SUBTRACTIVE_DITHER_2 reserves this number for values of exactly zero (FITS 4.0, section 10.2.1)
_ZERO = -2147483646


@intrinsic
def _leading_zeros(context, number):  # type: ignore[no-untyped-def]
    """Return the number of leading zeros of a uint64, as int64; 64 for zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], cgutils.false_bit)

    return types.int64(types.uint64), emit


@njit(nogil=True)
def _refill(stream, position, bits, n_bits):  # type: ignore[no-untyped-def]
    """Append 32 bits of the stream to the `n_bits` (fewer than 32) leftmost bits of `bits`."""
    number = _U(0)
    for k in range(4):
        number = number << _U(8) | _U(stream[position + k])
    return position + 4, bits | number << _U(32 - n_bits), n_bits + 32


@kernel
def rice_decompress(stream, tiles, begins, ends, counts, block, width, pixels):  # type: ignore[no-untyped-def]
    """Decompress RICE_1 (FITS 4.0, section 10.4.1).

    stream[begins[t]:ends[t]]: data of tile t, for every t in `tiles`. counts: pixels of each tile;
    block: pixels that share a number of low bits; width: bytes per pixel, 1, 2 or 4. Written:
    pixels[t, :counts[t]], int32, unsigned for 1 and 2 bytes. Returns whether all streams end where
    their pixels do.
    """
    size_bits = 5 if width == 4 else (4 if width == 2 else 3)
    raw = 25 if width == 4 else (14 if width == 2 else 6)
    pixel_bits = 8 * width
    wrap = _LOW32 >> _U(32 - pixel_bits)
    one = _U(1)
    for t in tiles:
        position, end = begins[t], ends[t]
        limit = end + 4  # reading on from here means that the stream has been exhausted
        if end - position < width:
            return False
        value = _U(0)
        for k in range(width):
            value = value << _U(8) | _U(stream[position + k])
        position += width
        bits, n_bits = _U(0), 0
        for first in range(0, counts[t], block):
            last = min(first + block, counts[t])
            if n_bits < 32:
                if position >= limit:
                    return False
                position, bits, n_bits = _refill(stream, position, bits, n_bits)
            low = np.int64(bits >> _U(64 - size_bits)) - 1
            bits <<= _U(size_bits)
            n_bits -= size_bits
            if low < 0:  # all pixels equal the one before
                for i in range(first, last):
                    pixels[t, i] = np.int32(value)
                continue
            for i in range(first, last):
                if n_bits < 32:
                    if position >= limit:
                        return False
                    position, bits, n_bits = _refill(stream, position, bits, n_bits)
                if low == raw:
                    step = bits >> _U(64 - pixel_bits)
                    bits <<= _U(pixel_bits)
                    n_bits -= pixel_bits
                else:
                    zeros = _leading_zeros(bits)
                    length = zeros + 1 + low
                    if length <= n_bits:
                        # a code is a number of zeros, a one and the low bits
                        step = (_U(zeros - 1) << _U(low)) + (bits >> _U(64 - length))
                        bits <<= _U(length)
                        n_bits -= length
                    else:
                        before = 0
                        while zeros >= n_bits:
                            before += n_bits
                            if position >= limit:
                                return False
                            position, bits, n_bits = _refill(stream, position, _U(0), 0)
                            zeros = _leading_zeros(bits)
                        bits <<= _U(zeros + 1)
                        n_bits -= zeros + 1
                        if n_bits < 32:
                            if position >= limit:
                                return False
                            position, bits, n_bits = _refill(stream, position, bits, n_bits)
                        # two shifts, since a shift by 64 is undefined
                        step = (_U(before + zeros) << _U(low)) + (bits >> one >> _U(63 - low))
                        bits <<= _U(low)
                        n_bits -= low
                # differences alternate in sign: 0, -1, 1, -2 ...
                value = (value + (step >> one ^ (_U(0) - (step & one)))) & wrap
                pixels[t, i] = np.int32(value)
        if position - n_bits // 8 != end:
            return False
    return True


@kernel
def unpack(data, shuffled, pixels):  # type: ignore[no-untyped-def]
    """Convert big-endian numbers of 1, 2 or 4 bytes to int32, unsigned for 1 and 2 bytes.

    data: uint8, the numbers one after another; shuffled: all first bytes, then all second bytes ...
    pixels: int32 (n,).
    """
    n = pixels.size
    width = data.size // n
    if width == 4 and shuffled:
        first, second, third, fourth = data[:n], data[n : 2 * n], data[2 * n : 3 * n], data[3 * n :]
        for i in range(n):
            pixels[i] = (
                np.int32(first[i]) << 24
                | np.int32(second[i]) << 16
                | np.int32(third[i]) << 8
                | np.int32(fourth[i])
            )
    elif width == 4:
        for i in range(n):
            pixels[i] = (
                np.int32(data[4 * i]) << 24
                | np.int32(data[4 * i + 1]) << 16
                | np.int32(data[4 * i + 2]) << 8
                | np.int32(data[4 * i + 3])
            )
    else:
        number_stride, byte_stride = (1, n) if shuffled else (width, 1)
        for i in range(n):
            number = np.int64(0)
            for k in range(width):
                number = number << 8 | np.int64(data[i * number_stride + k * byte_stride])
            pixels[i] = number


@kernel
def read_rows(handle, start, stride, width, pixels):  # type: ignore[no-untyped-def]
    """Read rows of big-endian numbers of 1, 2 or 4 bytes from a file; see `unpack`.

    start: offset of the first row in the file; stride: bytes from one row to the next. pixels:
    int32 (rows, numbers). Returns whether all could be read.
    """
    rows, cols = pixels.shape
    row_bytes = np.empty(width * cols, np.uint8)
    for j in range(rows):
        if _pread(handle, row_bytes.ctypes, row_bytes.size, start + j * stride) != row_bytes.size:
            return False
        for i in range(cols):
            number = np.int32(0)
            for k in range(width):
                number = number << 8 | np.int32(row_bytes[i * width + k])
            pixels[j, i] = number
    return True


@kernel
def read_scaled_rows(handle, start, stride, window, blank, scale, huge, out):  # type: ignore[no-untyped-def]
    """Do what `copy_scaled` does with rows of big-endian float32 of a file; see `read_rows`.

    window: first row and column in the output, number of rows and columns.
    """
    row, col, rows, cols = window
    row_bytes = np.empty(4 * cols, np.uint8)
    pixels = row_bytes.view(np.uint32)
    for j in range(rows):
        if _pread(handle, row_bytes.ctypes, row_bytes.size, start + j * stride) != row_bytes.size:
            return False
        values = out[row + j, col : col + cols]
        for i in range(cols):
            number = pixels[i]
            low = number << np.uint32(24) | (number & np.uint32(0xFF00)) << np.uint32(8)
            high = number >> np.uint32(24) | (number >> np.uint32(8) & np.uint32(0xFF00))
            pixel = np.uint32(low | high).view(np.float32)
            product = pixel * scale
            is_finite = pixel != blank and abs(pixel) < _INFINITE
            is_valid = is_finite and abs(pixel) < HUGE and abs(product) < _INFINITE
            values[i] = product if is_valid else (huge if is_finite else np.float32(np.nan))
    return True


@kernel
def dequantize(pixels, tiles, counts, scales, zeros, blanks, dither, rows, randoms, values):  # type: ignore[no-untyped-def]
    """Convert quantized tiles pixels[t, :counts[t]], int32, to float32 for every t in `tiles`.

    FITS 4.0, section 10.2. scales, zeros, blanks: of each tile; numbers that equal the blank become
    NaN. dither: method 1 or 2, 0 for none; rows: ZDITHER0 - 1 plus the number of each tile;
    randoms: float32 (10000,).
    """
    for t in tiles:
        scale, zero, blank = scales[t], zeros[t], blanks[t]
        row = rows[t]
        first = 0
        while first < counts[t]:
            row %= randoms.size
            start = int(randoms[row] * np.float32(500))
            last = min(counts[t], first + randoms.size - start)
            tile, random, out = pixels[t, first:last], randoms[start:], values[t, first:last]
            for i in range(tile.size):
                number = tile[i]
                value = np.float64(number)
                if dither > 0:
                    value = value - np.float64(random[i]) + 0.5
                value = value * scale + zero
                if dither == 2 and number == _ZERO:
                    value = np.float64(0.0)
                out[i] = np.float32(np.nan if number == blank else value)
            row += 1
            first = last


@kernel
def copy_scaled(block, window, blank, scale, huge, out):  # type: ignore[no-untyped-def]
    """Copy a window of a block, float32, to the output, float32, multiplied by `scale`.

    Pixels that equal `blank` or are not finite become NaN, other pixels of 3e38 and more, of either
    sign, become `huge`. window: first row and column in the block, the same in the output, number
    of rows and columns.
    """
    top, left, row, col, rows, cols = window
    for j in range(rows):
        pixels, values = block[top + j, left : left + cols], out[row + j, col : col + cols]
        for i in range(cols):
            product = pixels[i] * scale
            is_finite = pixels[i] != blank and abs(pixels[i]) < _INFINITE
            is_valid = is_finite and abs(pixels[i]) < HUGE and abs(product) < _INFINITE
            values[i] = product if is_valid else (huge if is_finite else np.float32(np.nan))


@kernel
def apply_mask(block, window, bits, out):  # type: ignore[no-untyped-def]
    """Set output pixels to NaN where a block of a mask, int32, has one of `bits` set.

    window: as for `copy_scaled`.
    """
    top, left, row, col, rows, cols = window
    for j in range(rows):
        flags, values = block[top + j, left : left + cols], out[row + j, col : col + cols]
        for i in range(cols):
            values[i] = np.float32(np.nan) if flags[i] & bits else values[i]
