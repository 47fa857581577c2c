// Parsing and formatting of positions, ICRS and galactic. Names of objects, which need a resolver, are not supported.

const RADIANS = Math.PI / 180;

/** @typedef {{ra: number, dec: number}} Position degrees */

/**
 * Parse a position such as "150.1 2.2", "10:00:24 +02:12:00", "10h00m24s 2d12m"; null for any other text.
 * @param {string} text
 * @returns {Position | null}
 */
export function parsePosition(text) {
  const plain = text
    .trim()
    .replace(/[−–]/g, "-")
    .replace(/[°'"′″,]/g, " ");
  if (!/^[\d\s.+\-:hdms]+$/i.test(plain)) return null;
  const words = plain
    .replace(/[:hdms]/gi, " ")
    .trim()
    .split(/\s+/);
  if (!words.every((word) => /^[+-]?(\d+\.?\d*|\.\d+)$/.test(word))) return null;
  const position = words.length === 2 ? decimal(words, plain) : sexagesimal(words);
  if (!position || !(position.ra >= 0 && position.ra <= 360)) return null;
  return Math.abs(position.dec) <= 90 ? { ra: position.ra % 360, dec: position.dec } : null;
}

/**
 * @param {string[]} words
 * @param {string} plain
 * @returns {Position}
 */
function decimal([ra, dec], plain) {
  const unit = /h/i.test(plain) ? 15 : 1;
  return { ra: Number(ra) * unit, dec: Number(dec) };
}

/**
 * @param {string[]} words
 * @returns {Position | null}
 */
function sexagesimal(words) {
  if (words.length !== 4 && words.length !== 6) return null;
  const half = words.length / 2;
  const ra = sixtieths(words.slice(0, half));
  const dec = sixtieths(words.slice(half));
  return ra === null || dec === null ? null : { ra: ra * 15, dec };
}

/** @param {string[]} words */
function sixtieths([first, ...rest]) {
  if (rest.some((word) => !(Number(word) >= 0 && Number(word) < 60))) return null;
  const size = rest.reduce(
    (sum, word, i) => sum + Number(word) / 60 ** (i + 1),
    Math.abs(Number(first)),
  );
  // "-00" is south, too
  return first.startsWith("-") ? -size : size;
}

/**
 * Hours: 10:00:24.000
 * @param {number} ra degrees
 */
export function formatRa(ra) {
  return clock((((ra % 360) + 360) % 360) / 15, 3, 24);
}

/**
 * Signed degrees: +02:12:00.00
 * @param {number} dec degrees
 */
export function formatDec(dec) {
  return (dec < 0 ? "−" : "+") + clock(Math.abs(dec), 2, Infinity);
}

/**
 * @param {number} value
 * @param {number} decimals
 * @param {number} limit
 */
function clock(value, decimals, limit) {
  // round once, in the last unit, so that 59.9999 never shows as 60
  const unit = 10 ** decimals;
  const total = Math.round(value * 3600 * unit);
  const whole = Math.floor(total / (3600 * unit)) % limit;
  const minutes = Math.floor(total / (60 * unit)) % 60;
  const seconds = ((total % (60 * unit)) / unit).toFixed(decimals).padStart(3 + decimals, "0");
  return [whole, minutes].map((part) => String(part).padStart(2, "0")).join(":") + ":" + seconds;
}

/**
 * 12.5°, 3.4′ or 20″
 * @param {number} degrees
 */
export function formatAngle(degrees) {
  if (degrees >= 1) return `${Number(degrees.toPrecision(3))}°`;
  if (degrees * 60 >= 1) return `${Number((degrees * 60).toPrecision(3))}′`;
  return `${Number((degrees * 3600).toPrecision(3))}″`;
}

/**
 * Return how many digits of the values of a survey are shown: more near a large number.
 * @param {{offset?: number}} [survey]
 */
export function digitsOf(survey) {
  return survey?.offset ? 12 : 6;
}

/**
 * Format a number with six digits, or as many as given, without trailing zeros.
 * @param {number} value
 */
export function formatValue(value, digits = 6) {
  const size = Math.abs(value);
  const short = Number(value.toPrecision(digits));
  const text = size !== 0 && (size < 1e-4 || size >= 1e7) ? short.toExponential() : String(short);
  return text.replace("-", "−");
}

// ICRS to galactic (the Hipparcos catalog, ESA SP-1200, vol. 1, 1.5.3)
const GALACTIC = [
  [-0.0548755604162154, -0.873437090234885, -0.4838350155487132],
  [0.4941094278755837, -0.4448296299600112, 0.746982244497219],
  [-0.867666149019005, -0.1980763734312015, 0.4559837761750669],
];

/**
 * Galactic longitude and latitude in degrees of an ICRS position.
 * @param {number} ra
 * @param {number} dec
 */
export function toGalactic(ra, dec) {
  return turned(GALACTIC, ra, dec);
}

// ICRS to the mean ecliptic and equinox of J2000 (astropy's BarycentricMeanEcliptic)
const ECLIPTIC = [
  [0.9999999999999941, -7.078368960971556e-8, 8.056213977613186e-8],
  [3.2897004077419646e-8, 0.9174821299149584, 0.3977769994440479],
  [-1.0207044725484355e-7, -0.39777699944404304, 0.9174821299149556],
];

/** @type {Map<string, number[][] | null>} matrices by the values of hips_frame (HiPS 1.0, 4.4.1) */
const FRAMES = new Map([
  ["equatorial", null],
  ["galactic", GALACTIC],
  ["ecliptic", ECLIPTIC],
]);

/**
 * Longitude and latitude, in degrees, of an ICRS position in the frame of a survey; null if it is unknown.
 * @param {string} frame
 * @param {number} ra
 * @param {number} dec
 * @returns {number[] | null}
 */
export function inFrame(frame, ra, dec) {
  const matrix = FRAMES.get(frame);
  if (matrix === undefined) return null;
  return matrix ? turned(matrix, ra, dec) : [ra, dec];
}

/**
 * ICRS position, in degrees, of a position in the frame of a survey; null if the frame is unknown.
 * @param {string} frame
 * @param {number} lon
 * @param {number} lat
 * @returns {number[] | null}
 */
export function fromFrame(frame, lon, lat) {
  const matrix = FRAMES.get(frame);
  if (matrix === undefined) return null;
  const back = matrix?.map((_, i) => matrix.map((row) => row[i]));
  return back ? turned(back, lon, lat) : [lon, lat];
}

/**
 * @param {number[][]} matrix
 * @param {number} ra
 * @param {number} dec
 */
function turned(matrix, ra, dec) {
  const [a, d] = [ra * RADIANS, dec * RADIANS];
  const vector = [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
  const [x, y, z] = matrix.map((row) => row.reduce((sum, m, i) => sum + m * vector[i], 0));
  return [(Math.atan2(y, x) / RADIANS + 360) % 360, Math.atan2(z, Math.hypot(x, y)) / RADIANS];
}

/**
 * Format a unit for display: nJy² for nJy**2.
 * @param {string | null} [unit]
 */
export function formatUnit(unit) {
  return (unit ?? "").replaceAll("**2", "²").replaceAll("**3", "³");
}
