// HEALPix, NESTED scheme (Górski et al. 2005, ApJ 622, 759): from positions to pixels.

const RADIANS = Math.PI / 180;

/** @typedef {{face: number, x: number, y: number}} Pixel x, y: even and odd bits of the index */

/**
 * Return the pixel at a position.
 * @param {number} lon degrees
 * @param {number} lat degrees
 * @param {number} nside a power of two
 * @returns {Pixel}
 */
export function pixelAt(lon, lat, nside) {
  const z = Math.sin(lat * RADIANS);
  const turn = ((((lon % 360) + 360) % 360) / 90) % 4;
  return Math.abs(z) <= 2 / 3 ? equatorial(z, turn, nside) : polar(z, lat, turn, nside);
}

/**
 * @param {number} z
 * @param {number} turn longitude in quarters of a turn
 * @param {number} nside
 * @returns {Pixel}
 */
function equatorial(z, turn, nside) {
  const ascending = Math.floor(nside * (0.5 + turn - 0.75 * z));
  const descending = Math.floor(nside * (0.5 + turn + 0.75 * z));
  const a = Math.floor(ascending / nside);
  const d = Math.floor(descending / nside);
  const face = a === d ? (a % 4) + 4 : a < d ? a % 4 : (d % 4) + 8;
  return { face, x: descending % nside, y: nside - 1 - (ascending % nside) };
}

/**
 * @param {number} z
 * @param {number} lat
 * @param {number} turn
 * @param {number} nside
 * @returns {Pixel}
 */
function polar(z, lat, turn, nside) {
  const quarter = Math.min(3, Math.floor(turn));
  const part = turn - quarter;
  // cos(lat) is precise at the pole, unlike 1 - |z|
  const scale = (nside * Math.cos(lat * RADIANS)) / Math.sqrt((1 + Math.abs(z)) / 3);
  const up = Math.min(nside - 1, Math.floor(part * scale));
  const down = Math.min(nside - 1, Math.floor((1 - part) * scale));
  return z >= 0
    ? { face: quarter, x: nside - 1 - down, y: nside - 1 - up }
    : { face: quarter + 8, x: up, y: down };
}

/**
 * Return longitude and latitude, in degrees, of a point of a base face.
 * @param {number} face
 * @param {number} x 0 to 1
 * @param {number} y 0 to 1
 */
export function positionOf(face, x, y) {
  const row = 2 + Math.floor(face / 4) - x - y;
  const cap = row < 1 ? row : row > 3 ? 4 - row : 1;
  const turn = (face % 4) + (face < 4 || face > 7 ? 0.5 : 0) + (cap ? (x - y) / (2 * cap) : 0);
  const height = cap < 1 ? 1 - cap ** 2 / 3 : Math.abs(2 - row) * (2 / 3);
  // precise at the pole, unlike the arcsine of the height
  const lat =
    cap < 1 ? 90 - (2 * Math.asin(cap / Math.sqrt(6))) / RADIANS : Math.asin(height) / RADIANS;
  return [(((turn * 90) % 360) + 360) % 360, row < 2 ? lat : -lat];
}

/**
 * Return the NESTED index, by floating-point arithmetic since it can exceed 32 bits.
 * @param {Pixel} pixel
 * @param {number} nside
 */
export function nestedIndex({ face, x, y }, nside) {
  let index = 0;
  for (let bit = 1, weight = 1; bit < nside; bit *= 2, weight *= 4) {
    index += weight * ((Math.floor(x / bit) % 2) + 2 * (Math.floor(y / bit) % 2));
  }
  return face * nside * nside + index;
}

/**
 * Return the tile of a position in the survey's frame, and row (from the bottom) and column in its FITS file.
 * @param {number} lon degrees
 * @param {number} lat degrees
 * @param {number} order
 * @param {number} width of a tile, in pixels
 */
export function tilePixel(lon, lat, order, width) {
  const side = 2 ** order;
  const { face, x, y } = pixelAt(lon, lat, side * width);
  const tile = { face, x: Math.floor(x / width), y: Math.floor(y / width) };
  // HiPS 1.0, 4.2.1: columns follow y, rows run against x
  return { npix: nestedIndex(tile, side), row: width - 1 - (x % width), column: y % width };
}
