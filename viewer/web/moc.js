// The coverage of a survey (IVOA MOC, NUNIQ or RANGE): keeps us from asking for tiles that are not.

import { readHeader } from "./fits.js";
import { nestedIndex, pixelAt } from "./healpix.js";

const DEEPEST = 29n;

const known = new Map();

/** The coverage of a survey, asked for once; null when its Moc.fits is missing or not readable. */
export function coverageOf(surveyUrl) {
  if (!known.has(surveyUrl)) known.set(surveyUrl, loadCoverage(`${surveyUrl}/Moc.fits`));
  return known.get(surveyUrl);
}

async function loadCoverage(url) {
  try {
    const answer = await fetch(url);
    return answer.ok ? new Coverage(readRanges(await answer.arrayBuffer())) : null;
  } catch (error) {
    console.warn(`${url} is not used: ${error.message}`);
    return null;
  }
}

/** Where a survey has pixels, in its own frame. */
export class Coverage {
  /** ranges: [first, end) of cells of order 29. */
  constructor(ranges) {
    this.ranges = ranges.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  }

  /** Whether the position (degrees) is inside. */
  holds(lon, lat) {
    const index = deepIndex(lon, lat);
    return this.meetsRange(index, index + 1n);
  }

  /** Whether a cell, a tile's for one, and the coverage have a part in common. */
  meets(order, index) {
    return this.meetsRange(...deepRange(BigInt(order), index));
  }

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

/** The ranges in the bytes of a Moc.fits. */
export function readRanges(buffer) {
  const { cards, data } = readHeader(buffer, readHeader(buffer).data);
  const view = new DataView(buffer, data);
  const wide = String(cards.TFORM1).endsWith("K");
  const count = (cards.NAXIS1 * cards.NAXIS2) / (wide ? 8 : 4);
  const numbers = Array.from({ length: count }, (_, i) =>
    wide ? view.getBigInt64(8 * i) : BigInt(view.getInt32(4 * i)),
  );
  return cards.ORDERING === "RANGE" ? pairs(numbers) : numbers.map(uniqRange);
}

function pairs(numbers) {
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
}

function uniqRange(uniq) {
  // uniq = 4 · 4^order + index
  const order = BigInt((uniq.toString(2).length - 3) >> 1);
  return deepRange(order, uniq - (4n << (2n * order)));
}

function deepRange(order, index) {
  const shift = 2n * (DEEPEST - order);
  return [index << shift, (index + 1n) << shift];
}

function deepIndex(lon, lat) {
  // 24 orders are as deep as plain numbers are exact; its center goes for the rest
  const nside = 2 ** 24;
  const index = BigInt(nestedIndex(pixelAt(lon, lat, nside), nside));
  return (index << 10n) + (1n << 9n);
}
