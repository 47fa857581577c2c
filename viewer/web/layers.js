// The panel on the left: a card for each survey, with its controls while it is on the screen.

import { COLORMAPS, STRETCHES, shownFormats } from "./sky.js";

const BAND_COLORS = {
  u: "#8f7bff", g: "#3ec6a8", r: "#f0b04a", i: "#ef7d57", z: "#d9526b", y: "#a8446f",
  J: "#6aa5ff", H: "#7ddc8b", K: "#f2705b", Ks: "#f2705b",
};
const FORMAT_NAMES = { fits: "FITS", png: "PNG", webp: "WebP", jpeg: "JPEG" };

/** Make an element: attributes, listeners (on…), then children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export class LayerPanel {
  constructor(list, viewer) {
    this.viewer = viewer;
    this.cards = viewer.surveys.map((survey, i) => new Card(survey, i, viewer));
    list.replaceChildren(...this.cards.map((card) => card.element));
  }

  update() {
    for (const card of this.cards) card.update();
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
    const label = make("label", { class: "stack", title: "Stack on the base survey" }, this.check, make("span", { class: "sr" }, `Stack ${title}`));
    this.controls = make("div", { class: "controls" }, ...this.makeControls());
    this.element = make("li", { class: "card", "data-survey": name }, this.pick, label, this.controls);
  }

  makeControls() {
    return [this.makeOpacity(), this.makeFormats(), this.makeStretch()].flat();
  }

  makeOpacity() {
    const { name } = this.survey;
    this.opacity = make("input", {
      type: "range", min: 0, max: 1, step: 0.01,
      oninput: () => this.viewer.fade(name, Number(this.opacity.value)),
    });
    this.opacityRow = row("Opacity", this.opacity);
    return this.opacityRow;
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
      row("Stretch", this.stretch),
      make("div", { class: "row" }, make("span", {}, "Cuts", make("small", {}, unit ? ` ${unit}` : "")), cuts),
      row("Colours", this.colormap),
      make("div", { class: "row" }, make("label", { class: "inline" }, this.reversed, " Invert"), reset),
    );
    return [this.fitsOnly];
  }

  cutInput(key, label) {
    const input = make("input", { type: "number", step: "any", "aria-label": label, "data-cut": key });
    input.addEventListener("change", () => this.setCut(key, input));
    return input;
  }

  /** A cut that is no number, or would turn the range over, is refused and marked. */
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
    this.fitsOnly.hidden = settings.format !== "fits";
    for (const button of this.formats) {
      button.setAttribute("aria-pressed", String(button.dataset.format === settings.format));
    }
    this.stretch.value = settings.stretch;
    this.colormap.value = settings.colormap;
    this.reversed.checked = settings.reversed;
    for (const [input, value] of [[this.low, settings.low], [this.high, settings.high]]) {
      if (input.valueAsNumber !== value) input.value = Number(value.toPrecision(7));
      input.removeAttribute("aria-invalid");
    }
  }
}

function thumbnail(survey) {
  const color = BAND_COLORS[survey.band] ?? "#7d8ca3";
  const box = make("span", { class: "thumb", "aria-hidden": "true" });
  if (survey.color) box.classList.add("rainbow");
  else box.style.setProperty("--band", color);
  if (survey.preview) box.append(make("img", { src: `${survey.url}/preview.jpg`, alt: "", loading: "lazy" }));
  return box;
}

function about(survey, index) {
  const chip = make("span", { class: "chip" }, survey.color ? "colour" : survey.band || "image");
  if (!survey.color) chip.style.setProperty("--band", BAND_COLORS[survey.band] ?? "#7d8ca3");
  const key = index < 9 ? make("kbd", { title: "Key" }, String(index + 1)) : "";
  const formats = shownFormats(survey).map((format) => FORMAT_NAMES[format]).join(" + ");
  return make("span", { class: "about" }, chip, make("span", { class: "dim" }, `order ${survey.order} · ${formats}`), key);
}

function choice(values, change) {
  const select = make("select", { onchange: () => change(select.value) });
  select.append(...values.map((value) => make("option", { value }, value)));
  return select;
}

function row(text, control) {
  return make("label", { class: "row" }, make("span", {}, text), control);
}
