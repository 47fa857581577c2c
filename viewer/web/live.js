// Surveys that the page computes from FITS tiles: live color, mask planes, signal-to-noise ratio.
//
// Aladin Lite requests their tiles like any others, and gate.js passes the requests to this module.

import { answerFor, forget } from "./gate.js";
import { fitsAnswer, tiles } from "./fits.js";
import { lupton } from "./lupton.js";
import { coverageOf } from "./moc.js";
import { isDrawn } from "./sky.js";

let made = 0;

/** Colors of mask planes; the most harmful planes have the strongest ones. */
const PLANE_COLORS = {
  SAT: "#ff4d4d", SATURATED: "#ff4d4d", BAD: "#ff8c1a", CR: "#ff5cf0", COSMIC_RAY: "#ff5cf0",
  NO_DATA: "#8f99ad", INTRP: "#35d07f", INTERPOLATED: "#35d07f", EDGE: "#ffe14d", SENSOR_EDGE: "#ffe14d",
  DETECTED: "#4da3ff", DETECTED_NEGATIVE: "#4de1ff", CLIPPED: "#b58cff", REJECTED: "#d98c5f",
  SUSPECT: "#ffb86b", INEXACT_PSF: "#7f8cff", DETECTION_EDGE: "#d7e04a", OTHER: "#ffffff",
};

export function planeColor(name) {
  if (Object.hasOwn(PLANE_COLORS, name)) return PLANE_COLORS[name];
  return `hsl(${[...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 360, 7)} 80% 62%)`;
}

/** A survey computed by the page. `survey`: described like those of the server, with its URL. */
class Live {
  constructor(survey, parts) {
    this.parts = parts;
    const [first] = parts;
    this.survey = {
      ...first,
      order: Math.min(...parts.map((part) => part.order)),
      order_min: Math.max(...parts.map((part) => part.order_min)),
      provenance: false, preview: false, live: true, offset: 0, cuts: null, data_range: null,
      ...survey,
    };
    this.renew();
  }

  /** Use a new URL, so that no old tile is used for a new one. */
  renew() {
    if (this.survey.url) forget(this.survey.url);
    this.survey.url = answerFor(`${this.survey.name}-${++made}`, (path) => this.answer(path));
  }

  async answer(path) {
    if (path === "properties") return new Response(this.properties(), { headers: { "content-type": "text/plain" } });
    const found = /^Norder(\d+)\/Dir\d+\/Npix(\d+)\.\w+$/.exec(path);
    return found ? this.tile(Number(found[1]), Number(found[2])) : null;
  }

  properties() {
    const { survey } = this;
    return Object.entries({
      creator_did: `ivo://local/P/live/${survey.name}`, obs_title: survey.title, dataproduct_type: "image",
      hips_order: survey.order, hips_order_min: survey.order_min, hips_tile_width: survey.tile_width,
      hips_frame: survey.frame, hips_tile_format: survey.formats.join(" "), hips_version: "1.4",
      ...(survey.bitpix ? { hips_pixel_bitpix: survey.bitpix } : { dataproduct_subtype: "color" }),
    }).map(([key, value]) => `${key} = ${value}`).join("\n");
  }

  /** Return the tiles of the input surveys, null for a missing one; null if all are missing. */
  async tilesOf(order, npix) {
    const found = await Promise.all(this.parts.map(async (part) => {
      const coverage = await coverageOf(part.url);
      if (coverage && !coverage.meets(order, BigInt(npix))) return null;
      return tiles.get(tileAddress(part, order, npix));
    }));
    return found.some(Boolean) ? found : null;
  }
}

export function tileAddress(survey, order, npix) {
  return `${survey.url}/Norder${order}/Dir${Math.floor(npix / 10000) * 10000}/Npix${npix}.fits`;
}

/** Color composition of three surveys. settings: {q, span, low: [3], gain: [3]}. */
export class LiveColor extends Live {
  constructor(parts, settings) {
    super({ name: "live-colour", title: "Live color", band: "", color: true, unit: "", formats: ["png"], bitpix: null }, parts);
    this.settings = settings;
  }

  async tile(order, npix) {
    const found = await this.tilesOf(order, npix);
    if (!found) return null;
    const rows = found.map((tile) => tile?.floats());
    return paint(this.survey.tile_width, (i, put) => {
      const values = rows.map((row) => (row ? row[i] : NaN));
      if (values.some(Number.isFinite)) put(...lupton(values, this.settings), 255);
    });
  }
}

/** Chosen planes of a mask survey, each in its own color. settings: {planes: [names]}. */
export class MaskPaint extends Live {
  constructor(mask, planes) {
    super({ name: `painted-${mask.name}`, title: `Mask ${mask.band}`, color: true, formats: ["png"], bitpix: null }, [mask]);
    this.planes = planes;
  }

  async tile(order, npix) {
    const found = await this.tilesOf(order, npix);
    if (!found) return null;
    const bits = found[0].integers();
    const chosen = this.planes.map((name) => [1 << this.parts[0].planes[name], rgb(planeColor(name))]);
    return paint(this.survey.tile_width, (i, put) => {
      const flags = bits[i];
      if (flags === found[0].blank) return;
      const set = chosen.find(([bit]) => flags & bit);
      if (set) put(...set[1], 255);
    });
  }
}

/** The image divided by the square root of its variance. */
export class SignalToNoise extends Live {
  constructor(image, variance) {
    super({
      name: `sn-${image.name}`, title: `S/N ${image.band || image.title}`, unit: "sigma", formats: ["fits"],
      bitpix: -32, cuts: [-3, 20], color: false, band: image.band,
    }, [image, variance]);
  }

  async tile(order, npix) {
    const found = await this.tilesOf(order, npix);
    if (!found?.every(Boolean)) return null;
    const [values, variance] = found.map((tile) => tile.floats());
    return fitsAnswer(this.survey.tile_width, values.map((value, i) => value / Math.sqrt(variance[i])));
  }
}

/** Return the surveys that the page computes: live color of three bands, signal-to-noise ratios. */
export function madeHere(surveys) {
  const made = [];
  const values = surveys.filter((one) => isDrawn(one) && one.formats.includes("fits") && one.bitpix && !one.planes);
  for (const variance of values.filter((one) => one.plane === "variance")) {
    const image = values.find((one) => !one.plane && one.band === variance.band && one.collection === variance.collection && one.frame === variance.frame && one.tile_width === variance.tile_width);
    if (image) made.push(new SignalToNoise(image, variance));
  }
  const bands = values.filter((one) => !one.plane && !one.color);
  const [first] = bands;
  const alike = bands.filter((one) => one.collection === first.collection && one.frame === first.frame && one.tile_width === first.tile_width && one.unit === first.unit && one.order === first.order);
  if (alike.length >= 3) {
    // bands are sorted from blue to red
    const parts = [alike.at(-1), alike[Math.floor((alike.length - 1) / 2)], alike[0]];
    const black = parts.map((part) => part.offset ?? 0);
    const cuts = parts.map((part, k) => (part.cuts ?? part.data_range ?? [0, 1]).map((cut) => cut - black[k]));
    const span = Math.max(...cuts.map(([, high]) => high));
    // the lower cut is a few sigma of the sky noise below the sky level
    const noise = Math.max(...cuts.map(([low]) => Math.abs(low)), span / 2000);
    const q = Math.max(1, Number((span / noise / 2).toPrecision(2)));
    const settings = { parts: parts.map((part) => part.name), q, span, low: black, gain: parts.map((part) => part.white ?? 1) };
    made.push(new LiveColor(parts, settings));
  }
  return made.map((maker) => Object.assign(maker.survey, { maker }));
}

/** Make a PNG of width² pixels. each(i, put): i counts from the bottom row, as in FITS. */
async function paint(width, each) {
  const canvas = new OffscreenCanvas(width, width);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, width);
  for (let row = 0; row < width; row++) {
    for (let col = 0; col < width; col++) {
      const at = 4 * ((width - 1 - row) * width + col);
      each(row * width + col, (r, g, b, a) => image.data.set([r, g, b, a], at));
    }
  }
  context.putImageData(image, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return new Response(blob, { headers: { "content-type": "image/png" } });
}

function rgb(color) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}
