// Values on the screen: a sample of them, their percentiles, zscale, and a picture of how many there are.

import { probe } from "./readout.js";

const ACROSS = 72;
const DOWN = 48;
const BINS = 64;

/** Values of a survey at a grid of points on the screen, in the order of the tiles that are shown. */
export async function sampleScreen(sky, survey) {
  const box = sky.div.getBoundingClientRect();
  const order = sky.order(survey);
  const asked = [];
  for (let j = 0; j < DOWN; j++) {
    for (let i = 0; i < ACROSS; i++) {
      const place = sky.position([((i + 0.5) * box.width) / ACROSS, ((j + 0.5) * box.height) / DOWN]);
      if (place) asked.push(probe(survey, ...place, order));
    }
  }
  const found = await Promise.all(asked);
  return Float64Array.from(found.filter((one) => one.state === "value").map((one) => one.value)).sort();
}

/** The value below which a share (0 to 1) of sorted values lies; between two it is in proportion. */
export function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** Cuts that leave out equal shares at both ends: `percent` of all values lie between. */
export function percentileCuts(sorted, percent) {
  const out = (1 - percent / 100) / 2;
  return ordered(quantile(sorted, out), quantile(sorted, 1 - out));
}

/** The cuts of IRAF's display: a line through the sorted values, outliers left out. */
export function zscaleCuts(sorted, { contrast = 0.25, rejected = 2.5, most = 5, least = 5 } = {}) {
  const count = sorted.length;
  const [low, high] = [sorted[0], sorted[count - 1]];
  // what lies beside an outlier goes with it
  const wide = Math.max(1, Math.floor(count * 0.01));
  const after = Math.floor((wide - 1) / 2);
  const needed = Math.max(least, Math.floor(count * 0.5));
  let bad = new Array(count).fill(false);
  let good = new Uint8Array(count).fill(1);
  let kept = count;
  let before = count + 1;
  let line = { slope: 0 };
  for (let turn = 0; turn < most && kept < before && kept >= needed; turn++) {
    line = fit(sorted, good);
    const flat = Array.from(sorted, (value, i) => value - (line.slope * i + line.offset));
    const sigma = deviation(flat, good);
    const wild = flat.map((value) => Math.abs(value) > rejected * sigma);
    bad = bad.map((one, i) => one || wild[i]);
    bad = bad.map((_, i, all) => all.slice(Math.max(0, i + after + 1 - wide), i + after + 1).some(Boolean));
    good = good.map((_, i) => (bad[i] ? 0 : 1));
    [before, kept] = [kept, good.reduce((sum, one) => sum + one, 0)];
  }
  if (kept < needed) return ordered(low, high);
  const slope = contrast > 0 ? line.slope / contrast : line.slope;
  const middle = Math.floor((count - 1) / 2);
  const median = quantile(sorted, 0.5);
  return ordered(Math.max(low, median - (middle - 1) * slope), Math.min(high, median + (count - middle) * slope));
}

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

function deviation(values, good) {
  const kept = values.filter((_, i) => good[i]);
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length;
  return Math.sqrt(kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / kept.length);
}

function ordered(low, high) {
  return low < high ? [low, high] : [low, low + (Math.abs(low) || 1) * 1e-6];
}

/** Bars of how many values there are from one end of the drawn range to the other; the cuts as lines. */
export function drawHistogram(canvas, sorted, low, high) {
  const [width, height] = [(canvas.width = canvas.clientWidth * devicePixelRatio), (canvas.height = canvas.clientHeight * devicePixelRatio)];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (sorted.length < 2) return null;
  const [from, to] = ordered(quantile(sorted, 0.002), quantile(sorted, 0.998));
  const bins = new Array(BINS).fill(0);
  for (const value of sorted) {
    const bin = Math.floor(((value - from) / (to - from)) * BINS);
    if (bin >= 0 && bin < BINS) bins[bin] += 1;
  }
  const most = Math.log1p(Math.max(...bins));
  const style = getComputedStyle(canvas);
  context.fillStyle = style.color;
  bins.forEach((count, i) => {
    const tall = (Math.log1p(count) / most) * (height - 2);
    context.fillRect((i * width) / BINS, height - tall, width / BINS - 0.5, tall);
  });
  context.fillStyle = style.getPropertyValue("--accent");
  for (const cut of [low, high]) {
    const at = ((cut - from) / (to - from)) * width;
    if (at >= 0 && at <= width) context.fillRect(at - 1, 0, 2, height);
  }
  return { from, to };
}
