// The state of the page as the part of its address after #: a copied link shows the same view.
//
//   survey=band_r&ra=…&dec=…&fov=…       base survey and position
//   over=band_i:0.5,band_g:0.3           stacked surveys with their opacity
//   look.band_r=fits,log,-5,300,viridis,1    format, stretch, cuts, colors, inverted; if not the default
//   mode=swipe&with=band_i&at=0.4        comparison: swipe, blink (turned=1: the other one is visible), 2 or 4 views
//   show=grid,patches,coverage,flags     overlays
//   mask.mask_r=SAT,CR                   painted planes
//   colour=band_i,band_r,band_g,8,500,0,0,0,1,1,1    live color: red, green, blue; Q, span; black; gain
//   here=150.1,2.2                       clicked position; in here.of=band_i, if not in the first view's survey
//   region=circle,150.1,2.2,10           measured region
//   objects.NAME=filter                  a catalog, with its filter
//   lock=1                               same cuts for all bands

/**
 * @typedef {{ra: number, dec: number, fov: number}} View degrees
 * @typedef {object} Look
 * @property {string} format
 * @property {string} stretch
 * @property {number} low
 * @property {number} high
 * @property {string} colormap
 * @property {boolean} reversed
 * @typedef {{parts: string[], q: number, span: number, low: number[], gain: number[]}} LiveColor
 * @typedef {{kind: "circle", ra: number, dec: number, radius: number}} Circle
 * @typedef {{kind: "box", ra: number, dec: number, width: number, height: number}} Box
 * @typedef {{kind: "line", ra: number, dec: number, ra2: number, dec2: number}} Line
 * @typedef {Circle | Box | Line} Region
 * @typedef {object} State
 * @property {string | null} survey
 * @property {View | null} view
 * @property {[string, number][]} over names and opacities, from bottom to top
 * @property {[string, Look][]} looks
 * @property {string} mode single, swipe, blink, 2 or 4
 * @property {string[]} others surveys to compare with
 * @property {number} swipe
 * @property {boolean} turned
 * @property {string[]} shown overlays
 * @property {[string, string[]][]} masks
 * @property {LiveColor | null} liveColor
 * @property {number[] | null} here ra, dec
 * @property {string | null} [hereOf]
 * @property {Region | null} region
 * @property {[string, string][]} objects
 * @property {boolean} lock
 */

const MODES = ["swipe", "blink", "2", "4"];

/** @type {Record<string, string[]>} */
const KINDS = {
  circle: ["ra", "dec", "radius"],
  box: ["ra", "dec", "width", "height"],
  line: ["ra", "dec", "ra2", "dec2"],
};

/**
 * Format a state as the part of the address after #.
 * @param {State & {survey: string, view: View}} state
 */
export function toHash(state) {
  const { view } = state;
  const words = new URLSearchParams({
    survey: state.survey,
    ra: view.ra.toFixed(6),
    dec: view.dec.toFixed(6),
    fov: view.fov.toPrecision(4),
  });
  /** @type {(key: string, value: string | null | undefined) => void} */
  const put = (key, value) => {
    if (value) words.set(key, value);
  };
  put("over", state.over.map(([name, opacity]) => `${name}:${Number(opacity.toFixed(2))}`).join());
  for (const [name, look] of state.looks) {
    put(
      `look.${name}`,
      [
        look.format,
        look.stretch,
        short(look.low, digitsOf(look.low, look.high - look.low)),
        short(look.high, digitsOf(look.high, look.high - look.low)),
        look.colormap,
        Number(look.reversed),
      ].join(),
    );
  }
  if (state.mode !== "single") {
    put("mode", state.mode);
    put("with", state.others.join());
    if (state.mode === "swipe") put("at", state.swipe.toFixed(3));
    if (state.turned) put("turned", "1");
  }
  put("show", state.shown.join());
  for (const [name, planes] of state.masks) put(`mask.${name}`, planes.join());
  if (state.liveColor) put("colour", colorWords(state.liveColor));
  if (state.here) put("here", state.here.map((one) => one.toFixed(7)).join());
  if (state.here) put("here.of", state.hereOf);
  if (state.region) put("region", regionWords(state.region));
  for (const [name, filter] of state.objects) words.set(`objects.${name}`, filter);
  if (state.lock) put("lock", "1");
  return words.toString();
}

/** @param {LiveColor} color */
function colorWords({ parts, q, span, low, gain }) {
  return [
    ...parts,
    ...[q, span].map((one) => short(one)),
    ...low.map((one) => short(one, digitsOf(one, span))),
    ...gain.map((one) => short(one)),
  ].join();
}

/** @param {Region} region */
function regionWords({ kind, ...rest }) {
  const values = /** @type {Record<string, number>} */ (rest);
  return [kind, ...KINDS[kind].map((key) => short(values[key], 9))].join();
}

/**
 * Parse the state in an address; missing or invalid parts get default values.
 * @param {string} text
 * @returns {State}
 */
export function fromHash(text) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  const mode = words.get("mode");
  return {
    survey: words.get("survey"),
    view: viewIn(words),
    over: list(words.get("over")).map(overIn),
    looks: named(words, "look").flatMap(([name, value]) => lookIn(name, value)),
    mode: mode && MODES.includes(mode) ? mode : "single",
    others: list(words.get("with")),
    swipe: within(Number(words.get("at") ?? 0.5), 0.02, 0.98, 0.5),
    turned: words.get("turned") === "1",
    shown: list(words.get("show")),
    masks: named(words, "mask").map(([name, value]) => [name, list(value)]),
    liveColor: colorIn(list(words.get("colour"))),
    here: numbers(words.get("here"), 2),
    hereOf: words.get("here.of"),
    region: regionIn(list(words.get("region"))),
    objects: named(words, "objects"),
    lock: words.get("lock") === "1",
  };
}

/**
 * Return name and value of the parameters `what.NAME=value`.
 * @param {URLSearchParams} words
 * @param {string} what
 * @returns {[string, string][]}
 */
function named(words, what) {
  const found = [...words].filter(([key]) => key.startsWith(`${what}.`));
  return found.map(([key, value]) => [key.slice(what.length + 1), value]);
}

/**
 * @param {URLSearchParams} words
 * @returns {View | null}
 */
function viewIn(words) {
  const [ra, dec, fov] = ["ra", "dec", "fov"].map((key) => Number.parseFloat(words.get(key) ?? ""));
  const isWhole = Math.abs(dec) <= 90 && Number.isFinite(ra) && fov > 0;
  return isWhole ? { ra, dec, fov } : null;
}

/**
 * @param {string} text
 * @returns {[string, number]}
 */
function overIn(text) {
  const [name, opacity] = text.split(":");
  return [name, within(Number(opacity), 0, 1, 0.5)];
}

/**
 * @param {string} name
 * @param {string} text
 * @returns {[string, Look][]} empty if the cuts are invalid
 */
function lookIn(name, text) {
  const [format, stretch, low, high, colormap, reversed] = text.split(",");
  const cuts = { low: Number(low), high: Number(high) };
  if (!(cuts.low < cuts.high)) return [];
  return [[name, { format, stretch, ...cuts, colormap, reversed: reversed === "1" }]];
}

/**
 * @param {string[]} words
 * @returns {LiveColor | null}
 */
function colorIn(words) {
  const levels = numbers(words.slice(3).join(), 8);
  if (!levels) return null;
  const [q, span, ...rest] = levels;
  return { parts: words.slice(0, 3), q, span, low: rest.slice(0, 3), gain: rest.slice(3) };
}

/**
 * @param {string[]} words
 * @returns {Region | null}
 */
function regionIn([kind, ...rest]) {
  const keys = Object.hasOwn(KINDS, kind) ? KINDS[kind] : null;
  const values = keys && numbers(rest.join(), keys.length);
  if (!values) return null;
  const sizes = Object.fromEntries(keys.map((key, i) => [key, values[i]]));
  return /** @type {Region} */ (/** @type {unknown} */ ({ kind, ...sizes }));
}

/** @param {string | null} text */
function list(text) {
  return text ? text.split(",").filter(Boolean) : [];
}

/**
 * @param {string | null} text
 * @param {number} count
 */
function numbers(text, count) {
  const found = list(text).map(Number);
  return found.length === count && found.every(Number.isFinite) ? found : null;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @param {number} otherwise
 */
function within(value, low, high, otherwise) {
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

/**
 * Return how many digits of a cut are kept: seven, and more where the range is small beside it.
 * @param {number} value
 * @param {number} range
 */
function digitsOf(value, range) {
  const more = Math.ceil(Math.log10(Math.abs(value) / range));
  return range > 0 && more > 0 ? Math.min(17, 7 + more) : 7;
}

/** @param {number} value */
function short(value, digits = 7) {
  return String(Number(value.toPrecision(digits)));
}
