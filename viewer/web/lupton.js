// The stretch of the live color (Lupton et al. 2004, PASP 116, 133).

/**
 * @typedef {object} Stretch
 * @property {number} q from where on brightness grows with the logarithm: above span / q
 * @property {number} span mean of the three that is shown white
 * @property {number[]} low black, of each of the three
 * @property {number[]} gain of each of the three
 */

/**
 * Levels 0 to 255 of three numbers, keeping their ratios.
 * @param {number[]} values red, green, blue; NaN for none
 * @param {Stretch} stretch
 */
export function lupton(values, { q, span, low, gain }) {
  const known = values.map((value, k) => (value - low[k]) * gain[k]).filter(Number.isFinite);
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  // a band that is missing counts as the mean of the others
  const scaled = values.map((value, k) =>
    Number.isFinite(value) ? (value - low[k]) * gain[k] : mean,
  );
  if (!(mean > 0)) return [0, 0, 0];
  const factor = Math.asinh((q * mean) / span) / Math.asinh(q) / mean;
  const shown = scaled.map((value) => Math.max(0, value * factor));
  const most = Math.max(...shown, 1);
  return shown.map((value) => Math.round((255 * value) / most));
}
