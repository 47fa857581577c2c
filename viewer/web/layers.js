// The panel on the left: a card for each survey, with its controls while it is displayed.

import { digitsOf, formatUnit } from "./coords.js";
import { percentileCuts, zscaleCuts } from "./cuts.js";
import { button, make, row, shortName } from "./elements.js";
import { drawHistogram, sampleScreen } from "./histogram.js";
import { planeColor } from "./live.js";
import { COLORMAPS, STRETCHES, isDrawn, shownFormats } from "./sky.js";

const BAND_COLORS = {
  u: "#8f7bff", g: "#3ec6a8", r: "#f0b04a", i: "#ef7d57", z: "#d9526b", y: "#a8446f",
  J: "#6aa5ff", H: "#7ddc8b", K: "#f2705b", Ks: "#f2705b",
};

function bandColor({ band }) {
  return Object.hasOwn(BAND_COLORS, band) ? BAND_COLORS[band] : "#7d8ca3";
}

const FORMAT_NAMES = { fits: "FITS", png: "PNG", webp: "WebP", jpeg: "JPEG" };

const PERCENTS = [90, 99, 99.5, 99.9];

export class LayerPanel {
  constructor(list, viewer) {
    this.viewer = viewer;
    const images = viewer.images();
    this.cards = viewer.surveys.map((survey) => (survey.planes ? new MaskCard(survey, viewer) : new Card(survey, images.indexOf(survey), viewer)));
    const groups = Map.groupBy(this.cards, (card) => card.survey.collection ?? "");
    list.replaceChildren(...[...groups].flatMap(([name, cards]) => [
      ...(groups.size > 1 ? [make("li", { class: "group" }, name || "others")] : []),
      ...cards.map((card) => card.element),
    ]));
  }

  update() {
    for (const card of this.cards) card.update();
  }

  /** Update open histograms after the view has changed. */
  count() {
    for (const card of this.cards) card.count?.();
  }
}

/** Card of a mask survey, with a checkbox for each plane. */
class MaskCard {
  constructor(survey, viewer) {
    this.survey = survey;
    this.viewer = viewer;
    this.boxes = Object.entries(survey.planes).map(([name, bit]) => {
      const check = make("input", { type: "checkbox", "data-plane": name, onchange: () => this.changed() });
      const label = make("label", { class: "inline plane", title: `${name}: bit ${bit}` }, check, make("i", {}), name);
      label.style.setProperty("--plane", planeColor(name));
      return { name, check, label };
    });
    this.painted = make("b", {});
    const chip = make("span", { class: "chip" }, `${survey.band} mask`.trim());
    chip.style.setProperty("--band", bandColor(survey));
    const about = make("summary", { title: survey.title }, chip, " ", this.painted);
    this.element = make("li", { class: "card mask", "data-survey": survey.name },
      make("details", {}, about, make("div", { class: "planes" }, ...this.boxes.map((one) => one.label))));
  }

  changed() {
    this.viewer.masks.set(this.survey.name, this.boxes.filter((one) => one.check.checked).map((one) => one.name));
  }

  update() {
    const planes = this.viewer.masks.planesOf(this.survey.name);
    for (const { name, check } of this.boxes) check.checked = planes.includes(name);
    this.painted.textContent = planes.join(", ");
    this.element.classList.toggle("over", planes.length > 0);
  }
}

class Card {
  constructor(survey, index, viewer) {
    this.survey = survey;
    this.viewer = viewer;
    const { name, title } = survey;
    this.pick = make(
      "button",
      { type: "button", class: "pick", title: survey.description || title, onclick: () => viewer.select(name) },
      thumbnail(survey),
      make("span", { class: "names" }, make("span", { class: "title" }, title), about(survey, index)),
    );
    this.check = make("input", { type: "checkbox", onchange: () => viewer.stack(name, this.check.checked) });
    const label = make("label", { class: "stack", title: "Overlay on the displayed survey, half transparent" }, this.check, make("span", { class: "sr" }, `Stack ${title}`));
    this.controls = make("div", { class: "controls" }, ...this.makeControls());
    this.element = make("li", { class: "card", "data-survey": name }, this.pick, label, this.controls);
  }

  makeControls() {
    const liveColor = this.survey.name === "live-colour" ? [this.makeMix()] : [];
    return [this.makeOpacity(), this.makeFormats(), this.makeStretch(), ...liveColor].flat();
  }

  makeOpacity() {
    const { name } = this.survey;
    this.opacity = make("input", {
      type: "range", min: 0, max: 1, step: 0.01,
      oninput: () => this.viewer.fade(name, Number(this.opacity.value)),
    });
    this.opacityRow = row("Opacity", this.opacity);
    this.higher = button("Raise", () => this.viewer.raise(name, 1), { title: "Move above the next stacked survey" });
    this.lower = button("Lower", () => this.viewer.raise(name, -1), { title: "Move below the previous stacked survey" });
    this.orderRow = make("div", { class: "row" }, make("span", {}, "Order"), make("div", { class: "actions" }, this.higher, this.lower));
    return [this.opacityRow, this.orderRow];
  }

  makeFormats() {
    const { name } = this.survey;
    const formats = shownFormats(this.survey);
    this.formats = formats.map((format) =>
      make("button", { type: "button", "data-format": format, onclick: () => this.viewer.change(name, { format }) }, FORMAT_NAMES[format]),
    );
    const group = make("div", { class: "segments", role: "group", "aria-label": "Tile format" }, ...this.formats);
    return formats.length > 1 ? [make("div", { class: "row" }, make("span", {}, "Tiles"), group)] : [];
  }

  makeStretch() {
    const { name, unit } = this.survey;
    const change = (part) => this.viewer.change(name, part);
    this.stretch = choice(STRETCHES, (stretch) => change({ stretch }));
    this.colormap = choice(COLORMAPS, (colormap) => change({ colormap }));
    this.reversed = make("input", { type: "checkbox", onchange: () => change({ reversed: this.reversed.checked }) });
    this.low = this.cutInput("low", "Lower cut");
    this.high = this.cutInput("high", "Upper cut");
    const cuts = make("div", { class: "cuts" }, this.low, make("span", { "aria-hidden": "true" }, "to"), this.high);
    const reset = make("button", { type: "button", class: "quiet", onclick: () => this.viewer.reset(name) }, "Reset");
    this.fitsOnly = make(
      "div", { class: "fits-only" },
      this.makeHistogram(),
      row("Stretch", this.stretch),
      make("div", { class: "row" }, make("span", {}, "Cuts", make("small", {}, unit ? ` ${formatUnit(unit)}` : "")), cuts),
      row("Colors", this.colormap),
      make("div", { class: "row" }, make("label", { class: "inline" }, this.reversed, " Invert"), reset),
    );
    return [this.fitsOnly];
  }

  /** Histogram of the displayed values, and buttons that derive cuts from them. */
  makeHistogram() {
    const { name } = this.survey;
    this.histogram = make("canvas", { class: "histogram", role: "img", "aria-label": "Histogram of the values on the screen" });
    const take = (cuts) => async () => {
      const values = await sampleScreen(this.viewer.sky, this.survey);
      if (values.length < 5) return this.viewer.tell("No values in this view", "Move to a position where this survey has data.");
      const [low, high] = cuts(values);
      await this.viewer.change(name, { low, high });
      this.count();
    };
    const percents = PERCENTS.map((percent) => button(`${percent}%`, take((values) => percentileCuts(values, percent)), { title: `Cuts that include ${percent} % of the displayed values` }));
    const zscale = button("zscale", take(zscaleCuts), { title: "Cuts by IRAF's zscale algorithm" });
    return make("div", { class: "histogram-box" }, this.histogram, make("div", { class: "actions" }, ...percents, zscale));
  }

  async count() {
    if (this.controls.hidden || this.fitsOnly.hidden || !this.histogram.clientWidth) return;
    const turn = (this.counting = (this.counting ?? 0) + 1);
    const values = await sampleScreen(this.viewer.sky, this.survey);
    if (turn !== this.counting) return;
    this.counted = values;
    this.drawn();
  }

  drawn() {
    if (!this.counted) return;
    const { low, high } = this.viewer.settings.get(this.survey.name);
    drawHistogram(this.histogram, this.counted, low, high);
    this.histogram.dataset.count = this.counted.length;
  }

  /** Controls of the live color: bands for red, green and blue; Q; gain of each band. */
  makeMix() {
    const { viewer } = this;
    const mixable = viewer.mixable();
    const bands = viewer.bands().filter((one) => mixable.includes(one));
    const number = (label, get, put, step) => {
      const input = make("input", { type: "number", step, "aria-label": label });
      input.addEventListener("change", () => Number.isFinite(input.valueAsNumber) && viewer.mix(put(input.valueAsNumber)));
      return { input, get };
    };
    this.mixParts = ["Red", "Green", "Blue"].map((color, k) => {
      const choose = make("select", { "aria-label": `${color} band`, onchange: () => viewer.mix({ parts: viewer.liveColor.parts.with(k, choose.value) }) });
      choose.append(...bands.map(({ name, band, title }) => make("option", { value: name }, band || title)));
      const gain = number(`${color} gain`, () => viewer.liveColor.gain[k], (value) => ({ gain: viewer.liveColor.gain.with(k, value) }), 0.1);
      const low = number(`${color} black`, () => viewer.liveColor.low[k], (value) => ({ low: viewer.liveColor.low.with(k, value) }), "any");
      return { color, choose, gain, low, k };
    });
    this.q = number("Q", () => viewer.liveColor.q, (value) => ({ q: Math.max(0.01, value) }), 1);
    this.span = number("White", () => viewer.liveColor.span, (value) => ({ span: Math.max(1e-6, value) }), "any");
    const head = make("div", { class: "mix dim" }, make("span", {}), make("span", {}, "band"), make("span", {}, "gain"), make("span", {}, "black"));
    const rows = this.mixParts.map(({ color, choose, gain, low }) => make("div", { class: "mix" }, make("span", { class: "dim" }, color), choose, gain.input, low.input));
    return make("div", { class: "fits-only" }, head, ...rows, row("Q", this.q.input), row("White at", this.span.input));
  }

  updateMix() {
    const { liveColor } = this.viewer;
    if (!this.mixParts || !liveColor) return;
    for (const { choose, gain, low, k } of this.mixParts) {
      choose.value = liveColor.parts[k];
      for (const { input, get } of [gain, low]) input.value = Number(get().toPrecision(5));
    }
    for (const { input, get } of [this.q, this.span]) input.value = Number(get().toPrecision(5));
  }

  cutInput(key, label) {
    const input = make("input", { type: "number", step: "any", "aria-label": label, "data-cut": key });
    input.addEventListener("change", () => this.setCut(key, input));
    return input;
  }

  /** Set a cut; it is rejected and marked if it is not a number or the cuts would not increase. */
  setCut(key, input) {
    const settings = this.viewer.settings.get(this.survey.name);
    const cuts = { low: settings.low, high: settings.high, [key]: input.valueAsNumber };
    const isRange = cuts.low < cuts.high;
    input.setAttribute("aria-invalid", String(!isRange));
    if (isRange) this.viewer.change(this.survey.name, { low: cuts.low, high: cuts.high });
  }

  update() {
    const { viewer, survey } = this;
    const settings = viewer.settings.get(survey.name);
    const isBase = viewer.base === survey;
    const opacity = viewer.stacked.get(survey.name);
    this.element.classList.toggle("base", isBase);
    this.element.classList.toggle("over", opacity !== undefined);
    this.pick.setAttribute("aria-pressed", String(isBase));
    this.check.checked = isBase || opacity !== undefined;
    this.check.disabled = isBase;
    this.controls.hidden = !isBase && opacity === undefined;
    this.opacityRow.hidden = opacity === undefined;
    if (opacity !== undefined) this.opacity.value = opacity;
    const order = [...viewer.stacked.keys()];
    this.orderRow.hidden = opacity === undefined || order.length < 2;
    this.higher.disabled = order.at(-1) === survey.name;
    this.lower.disabled = order[0] === survey.name;
    this.fitsOnly.hidden = settings.format !== "fits";
    for (const button of this.formats) {
      button.setAttribute("aria-pressed", String(button.dataset.format === settings.format));
    }
    this.stretch.value = settings.stretch;
    this.colormap.value = settings.colormap;
    this.reversed.checked = settings.reversed;
    for (const [input, value] of [[this.low, settings.low], [this.high, settings.high]]) {
      if (input.valueAsNumber !== value) input.value = Number(value.toPrecision(1 + digitsOf(survey)));
      input.removeAttribute("aria-invalid");
    }
    this.updateMix();
    this.drawn();
  }
}

function thumbnail(survey) {
  const color = bandColor(survey);
  const box = make("span", { class: "thumb", "aria-hidden": "true" });
  if (survey.color) box.classList.add("rainbow");
  else box.style.setProperty("--band", color);
  if (survey.preview) box.append(make("img", { src: `${survey.url}/preview.jpg`, alt: "", loading: "lazy" }));
  return box;
}

function about(survey, index) {
  const chip = make("span", { class: "chip" }, survey.color ? "color" : survey.band ? shortName(survey) : survey.plane || "image");
  if (!survey.color) chip.style.setProperty("--band", bandColor(survey));
  const key = index < 9 ? make("kbd", { title: "Key" }, String(index + 1)) : "";
  const formats = shownFormats(survey).map((format) => FORMAT_NAMES[format]).join(" + ");
  const shown = isDrawn(survey) ? formats : `${survey.frame}, not drawn`;
  return make("span", { class: "about" }, chip, make("span", { class: "dim" }, `order ${survey.order} · ${shown}`), key);
}

function choice(values, change) {
  const select = make("select", { onchange: () => change(select.value) });
  select.append(...values.map((value) => make("option", { value }, value)));
  return select;
}
