// Pixel values under the pointer, from the FITS tiles of the surveys.

import { digitsOf, formatAngle, formatDec, formatRa, formatUnit, formatValue, inFrame, toGalactic } from "./coords.js";
import { tiles } from "./fits.js";
import { onLoading, watch } from "./gate.js";
import { tilePixel } from "./healpix.js";
import { coverageOf } from "./moc.js";
import { nextFrame } from "./pace.js";

// milliseconds of loading before it is indicated
const MOMENT = 400;

/**
 * Return the value at an ICRS position in the tiles of one order.
 * state: "value", "none" (no pixel there), "unreadable", "no-fits", or "no-frame" (an unknown one).
 */
export async function probe(survey, ra, dec, order) {
  const native = order >= survey.order;
  const found = { value: null, order, native, unit: survey.unit, digits: digitsOf(survey) };
  if (!survey.formats.includes("fits")) return { ...found, state: "no-fits" };
  const place = inFrame(survey.frame, ra, dec);
  if (!place) return { ...found, state: "no-frame" };
  // do not request missing tiles
  watch(survey);
  const { npix, row, column } = tilePixel(...place, order, survey.tile_width);
  try {
    const folder = `Norder${order}/Dir${Math.floor(npix / 10000) * 10000}`;
    const tile = await tiles.get(`${survey.url}/${folder}/Npix${npix}.fits`);
    const value = tile ? tile.at(row, column) : NaN;
    return Number.isNaN(value) ? { ...found, state: "none" } : { ...found, value, state: "value" };
  } catch (error) {
    return { ...found, state: "unreadable", reason: error.message };
  }
}

/** Whether the MOC of a survey contains an ICRS position. */
export async function isCovered(survey, ra, dec) {
  const place = inFrame(survey.frame, ra, dec);
  const coverage = place && (await coverageOf(survey.url));
  return coverage?.holds(...place) ?? true;
}

/** The bar at the bottom; follows the pointer, or the center of the view when there is none. */
export class Readout {
  /** layers(sky): [{survey, label}], what a view shows first. bands(): likewise, of the table. */
  constructor(sky, bar, layers, bands = () => []) {
    this.first = this.sky = sky;
    this.bar = bar;
    this.layers = layers;
    this.bands = bands;
    this.table = document.querySelector("#bands tbody");
    this.pointer = null;
    // on touch screens, keep the values of the touched position until the view moves
    this.lifted = false;
    this.last = null;
    this.turn = 0;
    this.listen(sky);
    onLoading((count) => this.tellLoading(count));
  }

  /** Indicate that tiles are being loaded, but not for short times. */
  tellLoading(count) {
    this.loading = count;
    this.told ??= setTimeout(() => {
      this.told = undefined;
      this.bar.querySelector("[data-part=loading]").textContent = this.loading ? `${this.loading} to load` : "";
      if (this.loading) this.tellLoading(this.loading);
    }, MOMENT);
  }

  /** Follow the pointer in another view, too. */
  listen(sky) {
    for (const kind of ["pointerdown", "pointermove"]) sky.div.addEventListener(kind, (event) => this.follow(sky, event));
    sky.div.addEventListener("pointerleave", ({ pointerType }) => (pointerType === "touch" ? (this.lifted = true) : this.leave()));
    sky.onMove(() => (this.lifted ? this.leave() : this.update()));
  }

  follow(sky, event) {
    const box = sky.div.getBoundingClientRect();
    this.sky = sky;
    this.lifted = false;
    this.pointer = [event.clientX - box.left, event.clientY - box.top];
    this.update();
  }

  leave() {
    this.sky = this.first;
    this.lifted = false;
    this.pointer = null;
    this.update();
  }

  /** Update at most once per frame; results of outdated requests are dropped. */
  update() {
    const turn = ++this.turn;
    nextFrame(async () => {
      if (turn !== this.turn) return;
      const position = this.sky.position(this.pointer);
      const found = position ? await this.ask(position) : null;
      if (turn === this.turn) this.show(found);
    });
  }

  async ask([ra, dec]) {
    const values = await Promise.all(
      this.layers(this.sky).map(async ({ survey, label }) => {
        const order = this.sky.order(survey);
        return { label, name: survey.name, ...(await probe(survey, ra, dec, order)) };
      }),
    );
    const bands = await Promise.all(
      this.bands().map(async ({ survey, label }) => {
        const found = await probe(survey, ra, dec, this.sky.order(survey));
        return { band: label, name: survey.name, ...found, brightness: brightness(found, survey) };
      }),
    );
    return { ra, dec, values, bands, galactic: toGalactic(ra, dec), at: this.pointer ? "pointer" : "center" };
  }

  show(found) {
    this.last = found;
    const put = (name, text) => {
      this.bar.querySelector(`[data-part=${name}]`).textContent = text;
    };
    put("fov", formatAngle(this.sky.fov()));
    put("where", found?.at === "center" ? "center" : "pointer");
    put("sexagesimal", found ? `${formatRa(found.ra)}  ${formatDec(found.dec)}` : "off the sky");
    put("degrees", found ? `${found.ra.toFixed(6)}° ${found.dec.toFixed(6).replace("-", "−")}°` : "");
    this.table?.replaceChildren(...(found?.bands ?? []).map(bandRow));
    const values = found ? found.values : [];
    this.bar.querySelector("[data-part=values]").replaceChildren(...values.map(valueElement));
    const [base] = values;
    put("order", base?.native ? `order ${base.order}` : "");
    const kind = this.bar.querySelector("[data-part=kind]");
    kind.dataset.kind = base ? (base.native ? "native" : "averaged") : "";
    kind.textContent = base?.native === false ? `averaged at order ${base.order}` : kind.dataset.kind;
  }
}

/** Convert a value in nJy per pixel of the coadds to AB mag/arcsec²; null for other units. */
function brightness({ value, state, unit }, survey) {
  if (state !== "value" || unit !== "nJy" || !(value > 0) || !survey.pixel_scale) return null;
  return 31.4 - 2.5 * Math.log10(value / survey.pixel_scale ** 2);
}

function bandRow({ band, name, value, unit, digits, state, brightness: magnitude }) {
  const row = document.createElement("tr");
  row.dataset.survey = name;
  const cells = [band, state === "value" ? formatValue(value, digits) : WORDS[state], state === "value" ? formatUnit(unit) : "", magnitude === null ? "" : magnitude.toFixed(2)];
  cells.forEach((text, i) => {
    const cell = document.createElement(i ? "td" : "th");
    if (!i) cell.scope = "row";
    cell.textContent = cell.title = text;
    row.append(cell);
  });
  return row;
}

const WORDS = { none: "no data", unreadable: "tile not readable", "no-fits": "picture only", "no-frame": "unknown frame" };

function valueElement({ label, value, unit, digits, state }) {
  const element = document.createElement("span");
  element.className = `value ${state}`;
  const parts = [["b", label], ["strong", state === "value" ? formatValue(value, digits) : WORDS[state]]];
  if (state === "value") parts.push(["i", formatUnit(unit) || "no unit"]);
  for (const [tag, text] of parts) {
    if (!text) continue;
    const part = document.createElement(tag);
    part.textContent = text;
    element.append(part);
  }
  return element;
}
