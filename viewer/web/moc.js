// The coverage of a survey (IVOA MOC, NUNIQ or RANGE): keeps us from asking for tiles that are not.

import { readHeader } from "./fits.js";
import { nestedIndex, pixelAt } from "./healpix.js";

const DEEPEST = 29n;

/** A function (lon, lat) -> bool in the survey's frame; without a MOC everything may be covered. */
export async function loadCoverage(surveyUrl) {
  const answer = await fetch(`${surveyUrl}/Moc.fits`);
  if (!answer.ok) return () => true;
  return coverage(await answer.arrayBuffer());
}

export function coverage(buffer) {
  const { cards, data } = readHeader(buffer, readHeader(buffer).data);
  const view = new DataView(buffer, data);
  const wide = String(cards.TFORM1).endsWith("K");
  const count = (cards.NAXIS1 * cards.NAXIS2) / (wide ? 8 : 4);
  const numbers = Array.from({ length: count }, (_, i) =>
    wide ? view.getBigInt64(8 * i) : BigInt(view.getInt32(4 * i)),
  );
  const ranges = cards.ORDERING === "RANGE" ? pairs(numbers) : numbers.map(uniqRange);
  ranges.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  return (lon, lat) => holds(ranges, deepIndex(lon, lat));
}

function pairs(numbers) {
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
}

function uniqRange(uniq) {
  // uniq = 4 · 4^order + index
  const order = BigInt((uniq.toString(2).length - 3) >> 1);
  const shift = 2n * (DEEPEST - order);
  const index = uniq - (4n << (2n * order));
  return [index << shift, (index + 1n) << shift];
}

function deepIndex(lon, lat) {
  // 24 orders are as deep as plain numbers are exact; its centre goes for the rest
  const nside = 2 ** 24;
  const index = BigInt(nestedIndex(pixelAt(lon, lat, nside), nside));
  return (index << 10n) + (1n << 9n);
}

function holds(ranges, index) {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle][1] <= index) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && ranges[low][0] <= index;
}
