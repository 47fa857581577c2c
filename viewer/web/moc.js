// The coverage of a survey (IVOA MOC, NUNIQ or RANGE), used to avoid requests for missing tiles.

import { readHeader } from "./fits.js";
import { nestedIndex, pixelAt } from "./healpix.js";

const DEEPEST = 29n;

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
