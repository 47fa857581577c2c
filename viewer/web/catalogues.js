// Catalogues over the sky: those that the server was given, asked for what is on the screen.

import { formatValue } from "./coords.js";
import { make } from "./elements.js";

const COLORS = ["#ff7d9c", "#8fb8ff", "#d4e157", "#ce93d8", "#4dd0e1", "#ffab91"];
const NEAR = 9; // pixels from an object that a click may miss it by
const MOST = 2000;

export class Catalogues {
  constructor(box, viewer) {
    this.box = box;
    this.viewer = viewer;
    this.layers = [];
  }

  async load() {
    const answer = await fetch("api/catalogues").catch(() => null);
    const found = answer?.ok ? (await answer.json()).catalogues : [];
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
      kind: "points", places: rows.map((row) => [row.ra, row.dec]), color, chosen,
    }));
  }

  /** Whether a click in a view hit an object; its columns are shown. */
  picked(sky, ra, dec) {
    const at = sky.pixel(ra, dec);
    let best = null;
    for (const layer of this.layers.filter((one) => one.on)) {
      layer.chosen = undefined;
      layer.rows.forEach((row, i) => {
        const place = sky.pixel(row.ra, row.dec);
        const far = place && at ? Math.hypot(place[0] - at[0], place[1] - at[1]) : Infinity;
        if (far <= NEAR && far < (best?.far ?? Infinity)) best = { layer, row, i, far };
      });
    }
    const card = document.getElementById("object");
    card.hidden = !best;
    if (best) {
      best.layer.chosen = best.i;
      this.fill(card, best);
    }
    this.viewer.redraw();
    return best !== null;
  }

  fill(card, { layer, row }) {
    card.querySelector("h2").textContent = layer.name;
    const units = Object.fromEntries(layer.columns.map(({ name, unit }) => [name, unit]));
    card.querySelector("tbody").replaceChildren(...Object.entries(row.columns).map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, typeof value === "number" ? formatValue(value) : String(value ?? "–")), make("td", { class: "dim" }, units[name] ?? ""))));
    card.querySelector("[data-part=close]").onclick = () => (card.hidden = true);
  }
}

class Layer {
  constructor({ name, rows, columns }, color, all) {
    Object.assign(this, { name, columns: columns ?? [], color, all, rows: [], turn: 0 });
    this.check = make("input", { type: "checkbox", onchange: () => this.changed() });
    this.filter = make("input", { type: "text", placeholder: "filter, e.g. r_psfFlux > 1000", "aria-label": `Filter of ${name}`, spellcheck: "false" });
    this.filter.addEventListener("change", () => this.changed());
    this.told = make("small", { class: "dim", role: "status" }, rows == null ? "" : `${rows} rows`);
    const label = make("label", { class: "inline" }, this.check, make("i", {}), name);
    label.style.setProperty("--plane", color);
    this.element = make("li", { class: "card", "data-catalogue": name }, label, this.told, this.filter);
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
    if (!this.on) {
      this.rows = [];
      this.all.viewer.redraw();
      return;
    }
    const { ra, dec, fov } = this.all.viewer.sky.view();
    const words = { ra, dec, radius: Math.min(180, 0.72 * fov), limit: MOST };
    if (this.filter.value.trim()) words.filter = this.filter.value;
    const answer = await fetch(`api/catalogues/${encodeURIComponent(this.name)}?${new URLSearchParams(words)}`).catch((error) => error);
    const found = answer instanceof Error ? { error: answer.message } : await answer.json();
    if (turn !== this.turn) return;
    this.filter.setAttribute("aria-invalid", String(Boolean(found.error)));
    this.told.textContent = found.error ?? `${found.rows.length}${found.more ? " of more" : ""} in view`;
    this.rows = found.error ? [] : found.rows;
    this.all.viewer.redraw();
  }
}
