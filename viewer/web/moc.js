// The coverage of a survey (IVOA MOC, NUNIQ or RANGE), used to avoid requests for missing tiles.

import { readHeader } from "./fits.js";
import { fromFrame } from "./coords.js";
import { nestedIndex, pixelAt, positionOf } from "./healpix.js";

const DEEPEST = 29n;
const FINEST = 16; // order of the cells of a border: 3 arcsec
const STRAIGHT = 6; // order of cells whose edges are drawn as straight lines

/** @typedef {[first: bigint, end: bigint]} Range cells of order 29, excluding the end */

/** @type {Map<string, Promise<Coverage | null>>} */
const known = new Map();

/**
 * Return the coverage of a survey, requested once; null if its Moc.fits is missing or unreadable.
 * @param {string} surveyUrl
 * @returns {Promise<Coverage | null>}
 */
export function coverageOf(surveyUrl) {
  const coverage = known.get(surveyUrl) ?? loadCoverage(`${surveyUrl}/Moc.fits`);
  known.set(surveyUrl, coverage);
  return coverage;
}

/** @param {string} url */
async function loadCoverage(url) {
  try {
    const answer = await fetch(url);
    return answer.ok ? new Coverage(readRanges(await answer.arrayBuffer())) : null;
  } catch (error) {
    console.warn(`${url} is not used: ${/** @type {Error} */ (error).message}`);
    return null;
  }
}

/**
 * Return the border of a survey's coverage: lines of ICRS positions; none without a MOC or in an unknown frame.
 * @param {{url: string, frame: string}} survey
 */
export async function borderOf({ url, frame }) {
  const border = (await coverageOf(url))?.border() ?? [];
  return border.map((line) =>
    line.map(([lon, lat]) => fromFrame(frame, lon, lat)).filter((one) => one !== null),
  );
}

/** Coverage of a survey, in its own frame. */
export class Coverage {
  /** @param {Range[]} ranges */
  constructor(ranges) {
    this.ranges = ranges.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  }

  /**
   * Whether the position is inside.
   * @param {number} lon degrees
   * @param {number} lat degrees
   */
  holds(lon, lat) {
    const index = deepIndex(lon, lat);
    return this.meetsRange(index, index + 1n);
  }

  /**
   * Whether a cell, such as that of a tile, overlaps the coverage.
   * @param {number} order
   * @param {bigint} index
   */
  meets(order, index) {
    return this.meetsRange(...deepRange(BigInt(order), index));
  }

  /**
   * Return the border, to within a cell: lines of [lon, lat] in degrees. The cells are as small as `most` allows.
   * @param {number} most number of cells
   */
  border(most = 20_000) {
    let order = FINEST;
    while (order > 0 && this.count(order) > most) order--;
    /** @type {Map<string, number[][]>} */
    const edges = new Map();
    for (const index of this.cells(order)) {
      for (const edge of edgesOf(order, index)) {
        const key = keyOf(edge[edge.length >> 1]);
        // an edge of two cells is not on the border
        if (!edges.delete(key)) edges.set(key, edge);
      }
    }
    return [...edges.values()];
  }

  /** @param {number} order */
  count(order) {
    const shift = 2n * (DEEPEST - BigInt(order));
    return this.ranges.reduce(
      (sum, [first, end]) => sum + Number(((end - 1n) >> shift) - (first >> shift)) + 1,
      0,
    );
  }

  /** @param {number} order */
  cells(order) {
    const shift = 2n * (DEEPEST - BigInt(order));
    /** @type {Set<number>} */
    const found = new Set();
    for (const [first, end] of this.ranges) {
      for (let i = Number(first >> shift); i <= Number((end - 1n) >> shift); i++) found.add(i);
    }
    return found;
  }

  /**
   * @param {bigint} first
   * @param {bigint} end
   */
  meetsRange(first, end) {
    let [low, high] = [0, this.ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle][1] <= first) low = middle + 1;
      else high = middle;
    }
    return low < this.ranges.length && this.ranges[low][0] < end;
  }
}

/**
 * Parse the ranges of a Moc.fits.
 * @param {ArrayBuffer} buffer
 * @returns {Range[]}
 */
export function readRanges(buffer) {
  const { cards, data } = readHeader(buffer, readHeader(buffer).data);
  const view = new DataView(buffer, data);
  const wide = String(cards.TFORM1).endsWith("K");
  const count = (Number(cards.NAXIS1) * Number(cards.NAXIS2)) / (wide ? 8 : 4);
  const numbers = Array.from({ length: count }, (_, i) =>
    wide ? view.getBigInt64(8 * i) : BigInt(view.getInt32(4 * i)),
  );
  return cards.ORDERING === "RANGE" ? pairs(numbers) : numbers.map(uniqRange);
}

/**
 * @param {bigint[]} numbers
 * @returns {Range[]}
 */
function pairs(numbers) {
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
}

/** @param {bigint} uniq */
function uniqRange(uniq) {
  // uniq = 4 · 4^order + index
  const order = BigInt((uniq.toString(2).length - 3) >> 1);
  return deepRange(order, uniq - (4n << (2n * order)));
}

/**
 * @param {bigint} order
 * @param {bigint} index
 * @returns {Range}
 */
function deepRange(order, index) {
  const shift = 2n * (DEEPEST - order);
  return [index << shift, (index + 1n) << shift];
}

/**
 * @param {number} lon
 * @param {number} lat
 */
function deepIndex(lon, lat) {
  // numbers are exact up to order 24; deeper, use the center of the cell
  const nside = 2 ** 24;
  const index = BigInt(nestedIndex(pixelAt(lon, lat, nside), nside));
  return (index << 10n) + (1n << 9n);
}

/**
 * Return the four edges of a cell: lines of [lon, lat] in degrees, of an even number of pieces.
 * @param {number} order
 * @param {number} index
 */
function edgesOf(order, index) {
  const side = 2 ** order;
  const face = Math.floor(index / side ** 2);
  let [x, y] = [0, 0];
  for (
    let bit = 1, rest = index - face * side ** 2;
    rest > 0;
    bit *= 2, rest = Math.floor(rest / 4)
  ) {
    x += bit * (rest % 2);
    y += bit * (Math.floor(rest / 2) % 2);
  }
  const pieces = 2 ** Math.max(1, STRAIGHT - order);
  const corners = [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ];
  return corners.map(([x0, y0], k) => {
    const [x1, y1] = corners[(k + 1) % 4];
    return Array.from({ length: pieces + 1 }, (_, i) => {
      const part = i / pieces;
      return positionOf(
        face,
        (x + x0 + part * (x1 - x0)) / side,
        (y + y0 + part * (y1 - y0)) / side,
      );
    });
  });
}

/**
 * Return a text that is the same for the same point, also when it was computed in another base face.
 * @param {number[]} point
 */
function keyOf([lon, lat]) {
  const [a, d] = [(lon * Math.PI) / 180, (lat * Math.PI) / 180];
  const vector = [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
  // + 0 makes 0 of -0
  return vector.map((one) => Math.round(one * 1e9) + 0).join();
}
