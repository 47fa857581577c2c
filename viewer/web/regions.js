// Regions drawn on the sky, and their measurements by the server: statistics and profiles.

import { api } from "./api.js";
import { formatAngle, formatValue } from "./coords.js";
import { make } from "./elements.js";

const RADIANS = Math.PI / 180;

/** Return the offsets (degrees, east and north) of a position on the tangent plane at `center`. */
export function offset(center, place) {
  const [a, d] = [(place.ra - center.ra) * RADIANS, place.dec * RADIANS];
  const d0 = center.dec * RADIANS;
  const depth = Math.sin(d0) * Math.sin(d) + Math.cos(d0) * Math.cos(d) * Math.cos(a);
  const east = (Math.cos(d) * Math.sin(a)) / depth;
  const north = (Math.cos(d0) * Math.sin(d) - Math.sin(d0) * Math.cos(d) * Math.cos(a)) / depth;
  return [east / RADIANS, north / RADIANS];
}

/** Return the position at such offsets. */
export function placeAt(center, [east, north]) {
  const [x, y] = [east * RADIANS, north * RADIANS];
  const d0 = center.dec * RADIANS;
  const ra = center.ra * RADIANS + Math.atan2(x, Math.cos(d0) - y * Math.sin(d0));
  const dec = Math.atan2(Math.sin(d0) + y * Math.cos(d0), Math.hypot(x, Math.cos(d0) - y * Math.sin(d0)));
  return { ra: (ra / RADIANS + 360) % 360, dec: dec / RADIANS };
}

/** Return the region (circle, box or line) that a drag from `start` to `end` draws. */
export function regionOf(kind, start, end) {
  if (kind === "line") return { kind, ...start, ra2: end.ra, dec2: end.dec };
  const [east, north] = offset(start, end);
  if (kind === "circle") {
    const radius = Math.atan(Math.hypot(east, north) * RADIANS) / RADIANS;
    return { kind, ...start, radius: 3600 * radius };
  }
  const center = placeAt(start, [east / 2, north / 2]);
  return { kind, ...center, width: 3600 * Math.abs(east), height: 3600 * Math.abs(north) };
}

/** Return the outline of a region: [[ra, dec]]. */
export function cornersOf(region) {
  if (region.kind === "line") return [[region.ra, region.dec], [region.ra2, region.dec2]];
  const turn = (i, n) => (2 * Math.PI * i) / n;
  const shape =
    region.kind === "circle"
      ? Array.from({ length: 72 }, (_, i) => [Math.cos(turn(i, 72)), Math.sin(turn(i, 72))].map(
          (one) => (one * Math.tan((region.radius / 3600) * RADIANS)) / RADIANS,
        ))
      : [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => [(x * region.width) / 7200, (y * region.height) / 7200]);
  return shape.map((one) => placeAt(region, one)).map(({ ra, dec }) => [ra, dec]);
}

/** Return the server's measurements of a region in some surveys; throws an Error with a message. */
export async function measure(region, surveys) {
  const { kind, ...words } = region;
  const query = new URLSearchParams(words);
  for (const survey of surveys) query.append("survey", survey.name);
  return api(`api/${kind === "line" ? "profile" : "statistics"}?${query}`);
}

/** Return a table of statistics or a plot of profiles, as elements. */
export function resultElements(region, found, title) {
  return region.kind === "line" ? [profilePlot(found, title)] : [statisticsTable(found.statistics, title)];
}

const COLUMNS = ["count", "missing", "mean", "median", "sigma", "robust_sigma", "sum", "min", "max"];
const MEANT = {
  count: "pixels with a value; mask planes are ignored", missing: "pixels without a value",
  sigma: "standard deviation of all pixels, including stars and artifacts",
  robust_sigma: "1.4826 times the median absolute deviation: the sky noise, if most pixels are sky",
};

function statisticsTable(rows, title) {
  const head = ["band", ...COLUMNS, "unit", "from"].map((name) => make("th", { scope: "col", title: MEANT[name] }, name.replace("_", " ")));
  return make("table", { class: "numbers" }, make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...rows.map((row) => make("tr", { "data-survey": row.survey },
      make("th", { scope: "row" }, title(row.survey)),
      ...COLUMNS.map((name) => make("td", { "data-name": name }, row[name] == null ? "–" : formatValue(row[name]))),
      make("td", {}, row.unit || "–"), make("td", { class: "dim" }, source(row))))));
}

/** Describe what was measured: a coadd, or tiles. */
function source(row) {
  const why = row.error ? `; coadd: ${row.error}` : "";
  if (row.source === "coadd") {
    const id = row.data_id ?? {};
    return id.tract === undefined ? "coadd" : `coadd ${id.tract}, ${id.patch}`;
  }
  return row.source ? `tiles, order ${row.order} (${row.kind})${why}` : row.error;
}

const PLOT = { width: 560, height: 190, left: 62, bottom: 24, top: 8, right: 8 };
const LINES = ["#66d9c2", "#ffb86b", "#8fb8ff", "#ff7d9c", "#d4e157", "#ce93d8"];

/** Plot values along a line, one curve per survey; `data-points` is the number of its points. */
function profilePlot({ profiles, length }, title) {
  const drawn = profiles.filter((one) => one.value?.some((value) => value !== null));
  const values = drawn.flatMap((one) => one.value.filter((value) => value !== null));
  const box = make("div", { class: "profile" });
  const failed = profiles.filter((one) => one.error && !drawn.includes(one)).map((one) => make("p", {}, `${title(one.survey)}: ${one.error}`));
  if (!values.length) {
    box.append(make("p", {}, "No values along this line."), ...failed);
    return box;
  }
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (distance) => PLOT.left + (distance / (length || 1)) * (PLOT.width - PLOT.left - PLOT.right);
  const y = (value) => PLOT.top + (1 - (value - low) / (high - low || 1)) * (PLOT.height - PLOT.top - PLOT.bottom);
  const svg = shape("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img", "aria-label": "Profile" });
  for (const part of [0, 0.5, 1]) {
    const [value, far] = [low + part * (high - low), part * length];
    svg.append(
      shape("line", { x1: PLOT.left, x2: PLOT.width - PLOT.right, y1: y(value), y2: y(value), class: "rule" }),
      shape("text", { x: PLOT.left - 6, y: y(value) + 4, "text-anchor": "end" }, formatValue(Number(value.toPrecision(4)))),
      shape("text", { x: x(far), y: PLOT.height - 6, "text-anchor": ["start", "middle", "end"][2 * part] }, formatAngle(far / 3600)),
    );
  }
  const names = make("p", { class: "legend" });
  drawn.forEach((one, i) => {
    let pen = "M";
    const path = one.value.map((value, k) => {
      if (value === null) return (pen = "M"), "";
      const step = `${pen}${x(one.distance[k]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    });
    svg.append(shape("path", { d: path.join(""), stroke: LINES[i % LINES.length], "data-survey": one.survey, "data-points": one.value.length }));
    const name = make("span", {}, `${title(one.survey)} ${one.unit || ""} · ${source(one)}`);
    name.style.setProperty("--line", LINES[i % LINES.length]);
    names.append(name);
  });
  box.append(svg, names, ...failed);
  return box;
}

function shape(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}
