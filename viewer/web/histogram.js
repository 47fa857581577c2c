// Histogram of a sample of the displayed values.

import { ordered, quantile } from "./cuts.js";
import { probe } from "./readout.js";

const ACROSS = 72;
const DOWN = 48;
const BINS = 64;

/** Return the values of a survey at a grid of points in the view, from tiles of the displayed order. */
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

/** Draw the histogram of values, with the cuts as lines. */
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
