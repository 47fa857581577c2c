// Catalogs of the server, drawn over the sky: the objects in the displayed field.

import { api } from "./api.js";
import { formatUnit, formatValue } from "./coords.js";
import { button, copyButton, make } from "./elements.js";

const COLORS = ["#ff7d9c", "#8fb8ff", "#d4e157", "#ce93d8", "#4dd0e1", "#ffab91"];
const CLICK_RADIUS = 9; // pixels within which a click selects an object
const MOST = 2000;
const MAX_COLUMNS = 64; // that the server returns per request
const TOLERANCE = 1e-7; // degrees: radius of the cone with which a known row is requested again

export class Catalogs {
  constructor(box, viewer) {
    this.box = box;
    this.viewer = viewer;
    this.layers = [];
  }

  async load() {
    const found = await api("api/catalogs").then((all) => all.catalogs, () => []);
    this.layers = found.map((one, i) => new Layer(one, COLORS[i % COLORS.length], this));
    this.box.hidden = !found.length;
    this.box.querySelector("ul").replaceChildren(...this.layers.map((layer) => layer.element));
  }

  state() {
    return this.layers.filter((layer) => layer.on).map((layer) => [layer.name, layer.filter.value]);
  }

  restore(wanted) {
    for (const layer of this.layers) {
      layer.check.checked = wanted.has(layer.name);
      layer.filter.value = wanted.get(layer.name) ?? "";
      layer.renew();
    }
  }

  renew() {
    for (const layer of this.layers) layer.renew();
  }

  items() {
    return this.layers.filter((layer) => layer.on).map(({ rows, color, chosen }) => ({
      kind: "points", places: rows, color, chosen,
    }));
  }

  /** If a click in a view hits an object, show its columns; return whether it does. */
  picked(sky, ra, dec) {
    const at = sky.pixel(ra, dec);
    let best = null;
    for (const layer of this.layers.filter((one) => one.on)) {
      layer.chosen = undefined;
      layer.rows.forEach((row, i) => {
        const place = sky.pixel(...row);
        const far = place && at ? Math.hypot(place[0] - at[0], place[1] - at[1]) : Infinity;
        if (far <= CLICK_RADIUS && far < (best?.far ?? Infinity)) best = { layer, i, far };
      });
    }
    if (best) this.choose(best);
    else this.forget();
    this.viewer.redraw();
    return best !== null;
  }

  choose({ layer, i }) {
    layer.chosen = i;
    const [card, shown] = [this.card, new Set(layer.shown.map(({ name }) => name))];
    card.hidden = false;
    card.querySelector("h2").textContent = layer.name;
    card.querySelector("tbody").replaceChildren(...rowsOf(layer.shown, layer.values[i]));
    card.querySelector("[data-part=close]").onclick = () => {
      this.forget();
      this.viewer.redraw();
    };
    const place = layer.rows[i];
    const here = card.querySelector("[data-part=actions]");
    here.replaceChildren(
      copyButton("Copy RA Dec", `${place[0].toFixed(7)} ${place[1].toFixed(7)}`),
      button("Coadds here", () => this.viewer.inspect(...place, this.viewer.seen()), { title: "List the coadds at this position" }),
    );
    const rest = layer.columns.map(({ name }) => name).filter((name) => !shown.has(name));
    const more = card.querySelector("[data-part=more]");
    more.hidden = !rest.length;
    more.disabled = false;
    more.textContent = `${rest.length} more columns`;
    more.onclick = () => this.more(layer, layer.rows[i], rest);
  }

  /** Show the other columns of a row, as many per request as the server allows. */
  async more(layer, place, names) {
    const [card, button] = [this.card, this.card.querySelector("[data-part=more]")];
    const still = () => layer.chosen !== undefined && layer.rows[layer.chosen] === place;
    button.disabled = true;
    for (let i = 0; i < names.length; i += MAX_COLUMNS) {
      const found = await layer.ask({ ra: place[0], dec: place[1], radius: TOLERANCE, limit: 1 }, names.slice(i, i + MAX_COLUMNS));
      if (!still()) return;
      if (found.error || !found.rows.length) {
        button.disabled = false;
        button.textContent = found.error ?? "this row no longer exists";
        return;
      }
      card.querySelector("tbody").append(...rowsOf(found.columns, found.rows[0]));
    }
    button.hidden = true;
  }

  get card() {
    return document.getElementById("object");
  }

  /** Deselect the object. */
  forget() {
    for (const layer of this.layers) layer.chosen = undefined;
    this.card.hidden = true;
  }
}

function rowsOf(columns, values) {
  return columns.map(({ name, unit }, i) => {
    const value = values[i];
    const isAngle = /^(deg|rad)/.test(unit);
    const said = typeof value === "number" && !Number.isInteger(value) ? (isAngle ? value.toFixed(7) : formatValue(value)) : String(value ?? "–");
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, said), make("td", { class: "dim" }, formatUnit(unit)));
  });
}

class Layer {
  constructor({ name, rows, columns }, color, all) {
    // rows: their positions; values: of the columns, one list per row
    Object.assign(this, { name, columns, color, all, rows: [], values: [], shown: [], turn: 0 });
    this.check = make("input", { type: "checkbox", onchange: () => this.changed() });
    this.filter = make("input", { type: "text", placeholder: "filter, e.g. r_psfFlux > 1000", "aria-label": `Filter of ${name}`, spellcheck: "false" });
    this.filter.addEventListener("change", () => this.changed());
    this.told = make("small", { class: "dim", role: "status" }, rows == null ? "" : `${rows} rows`);
    const label = make("label", { class: "inline" }, this.check, make("i", {}), name);
    label.style.setProperty("--plane", color);
    this.element = make("li", { class: "card", "data-catalog": name }, label, this.told, this.filter);
  }

  get on() {
    return this.check.checked;
  }

  changed() {
    this.renew();
    this.all.viewer.writeHash(true);
  }

  async renew() {
    const turn = ++this.turn;
    // clear a layer only once after it was turned off
    if (!this.on && !this.rows.length) return;
    const { ra, dec, fov } = this.all.viewer.sky.view();
    const found = this.on ? await this.ask({ ra, dec, radius: Math.min(180, 0.72 * fov), limit: MOST }) : { rows: [], columns: [] };
    if (turn !== this.turn) return;
    if (this.on) {
      this.told.textContent = found.error ?? this.counted(found);
      this.told.title = (found.problems ?? []).join("\n");
      if (this.told.title) this.told.textContent += `; ${found.problems.length} tables cannot be read`;
    }
    this.filter.setAttribute("aria-invalid", String(Boolean(found.error)));
    const chosen = this.rows[this.chosen];
    this.rows = found.error ? [] : found.rows.map((_, i) => [found.ra[i], found.dec[i]]);
    [this.values, this.shown] = found.error ? [[], []] : [found.rows, found.columns];
    // keep the selected object marked as long as it is in view
    const place = chosen ? this.rows.findIndex((row) => row[0] === chosen[0] && row[1] === chosen[1]) : -1;
    if (chosen && place < 0) this.all.forget();
    else if (chosen) this.chosen = place;
    this.all.viewer.redraw();
  }

  /** Describe how many objects are in view; if there are too many, only those nearest to the center are known. */
  counted({ ra, dec, more }) {
    const { sky } = this.all.viewer;
    const { clientWidth, clientHeight } = sky.div;
    const seen = ra.map((one, i) => sky.pixel(one, dec[i])).filter((at) => at && at[0] >= 0 && at[1] >= 0 && at[0] <= clientWidth && at[1] <= clientHeight);
    return more ? `more in view: only the ${ra.length} nearest to its center are drawn` : `${seen.length} in view`;
  }

  /** Return the server's response, or {error}. columns: their names; none for the first few. */
  async ask(words, columns = []) {
    const query = new URLSearchParams(words);
    if (this.filter.value.trim()) query.set("filter", this.filter.value);
    for (const name of columns) query.append("columns", name);
    return api(`api/catalogs/${encodeURIComponent(this.name)}?${query}`).catch((error) => ({ error: error.message }));
  }
}
