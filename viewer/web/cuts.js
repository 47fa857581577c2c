// Cuts of sorted values: percentiles, and the zscale algorithm of IRAF's display task.

/** @typedef {number[] | Float64Array} Values */

/**
 * Return a quantile of sorted values, interpolated linearly.
 * @param {Values} sorted
 * @param {number} share 0 to 1
 */
export function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/**
 * Return cuts that include `percent` of all values, and exclude as many below as above.
 * @param {Values} sorted
 * @param {number} percent
 */
export function percentileCuts(sorted, percent) {
  const out = (1 - percent / 100) / 2;
  return ordered(quantile(sorted, out), quantile(sorted, 1 - out));
}

/**
 * Return the cuts of IRAF's display task: a line fitted to the sorted values, without outliers.
 * @param {Values} sorted
 */
export function zscaleCuts(sorted, { contrast = 0.25, rejected = 2.5, most = 5, least = 5 } = {}) {
  const count = sorted.length;
  const [low, high] = [sorted[0], sorted[count - 1]];
  // values next to an outlier are rejected, too
  const wide = Math.max(1, Math.floor(count * 0.01));
  const after = Math.floor((wide - 1) / 2);
  const needed = Math.max(least, Math.floor(count * 0.5));
  let bad = new Array(count).fill(false);
  let good = new Uint8Array(count).fill(1);
  let kept = count;
  let before = count + 1;
  let line = { slope: 0, offset: 0 };
  for (let turn = 0; turn < most && kept < before && kept >= needed; turn++) {
    line = fit(sorted, good);
    const flat = Array.from(sorted, (value, i) => value - (line.slope * i + line.offset));
    const sigma = deviation(flat, good);
    const wild = flat.map((value) => Math.abs(value) > rejected * sigma);
    bad = bad.map((one, i) => one || wild[i]);
    bad = bad.map((_, i, all) =>
      all.slice(Math.max(0, i + after + 1 - wide), i + after + 1).some(Boolean),
    );
    good = good.map((_, i) => (bad[i] ? 0 : 1));
    [before, kept] = [kept, good.reduce((sum, one) => sum + one, 0)];
  }
  if (kept < needed) return ordered(low, high);
  const slope = contrast > 0 ? line.slope / contrast : line.slope;
  const middle = Math.floor((count - 1) / 2);
  const median = quantile(sorted, 0.5);
  return ordered(
    Math.max(low, median - (middle - 1) * slope),
    Math.min(high, median + (count - middle) * slope),
  );
}

/**
 * @param {Values} values
 * @param {Uint8Array} good
 */
function fit(values, good) {
  let [n, x, y, xx, xy] = [0, 0, 0, 0, 0];
  values.forEach((value, i) => {
    if (!good[i]) return;
    n += 1;
    x += i;
    y += value;
    xx += i * i;
    xy += i * value;
  });
  const slope = (n * xy - x * y) / (n * xx - x * x || 1);
  return { slope, offset: (y - slope * x) / n };
}

/**
 * @param {number[]} values
 * @param {Uint8Array} good
 */
function deviation(values, good) {
  const kept = values.filter((_, i) => good[i]);
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length;
  return Math.sqrt(kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / kept.length);
}

/**
 * Return increasing cuts, even if all values are equal.
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
export function ordered(low, high) {
  return low < high ? [low, high] : [low, low + (Math.abs(low) || 1) * 1e-6];
}
