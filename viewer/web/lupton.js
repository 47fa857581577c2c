// The stretch of the live color (Lupton et al. 2004, PASP 116, 133).

/**
 * @typedef {object} Stretch
 * @property {number} q softening: brightness is logarithmic above span / q
 * @property {number} span mean of the bands that is shown as white
 * @property {number[]} low value of each band that is shown as black
 * @property {number[]} gain factor of each band
 */

/**
 * Return levels 0 to 255 for three values, preserving their ratios.
 * @param {number[]} values red, green, blue; NaN for none
 * @param {Stretch} stretch
 */
export function lupton(values, { q, span, low, gain }) {
  const known = values.map((value, k) => (value - low[k]) * gain[k]).filter(Number.isFinite);
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  // a missing band is replaced by the mean of the others
  const scaled = values.map((value, k) =>
    Number.isFinite(value) ? (value - low[k]) * gain[k] : mean,
  );
  if (!(mean > 0)) return [0, 0, 0];
  const factor = Math.asinh((q * mean) / span) / Math.asinh(q) / mean;
  const shown = scaled.map((value) => Math.max(0, value * factor));
  const most = Math.max(...shown, 1);
  return shown.map((value) => Math.round((255 * value) / most));
}
