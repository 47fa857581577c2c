// The tool that draws a region, and the panel with its measurements.

import { formatDec, formatRa } from "./coords.js";
import { button, make } from "./elements.js";
import { cornersOf, measure, regionOf, resultElements } from "./regions.js";

const MIN_DRAG = 4; // pixels

export class Measuring {
  constructor(drawer, viewer) {
    this.drawer = drawer;
    this.viewer = viewer;
    this.kind = null;
    this.cover = make("div", { class: "cover", hidden: true });
    document.getElementById("panes").append(this.cover);
    this.cover.addEventListener("pointerdown", (event) => this.begin(event));
    this.turn = 0;
    for (const choice of document.querySelectorAll("#measure button")) {
      choice.addEventListener("click", () => this.choose(choice.dataset.kind === this.kind ? null : choice.dataset.kind));
    }
    drawer.querySelector("[data-part=close]").addEventListener("click", () => this.clear());
  }

  /** Whether a region is being drawn, so that clicks do not inspect coadds. */
  get busy() {
    return this.kind !== null;
  }

  choose(kind) {
    this.kind = kind;
    this.cover.hidden = kind === null;
    for (const choice of document.querySelectorAll("#measure button")) {
      choice.setAttribute("aria-pressed", String(choice.dataset.kind === kind));
    }
  }

  place(event) {
    const { sky } = this.viewer;
    const box = sky.div.getBoundingClientRect();
    const found = sky.position([event.clientX - box.left, event.clientY - box.top]);
    return found && { ra: found[0], dec: found[1] };
  }

  begin(event) {
    const start = this.place(event);
    if (!start || event.button) return;
    event.preventDefault();
    this.cover.setPointerCapture(event.pointerId);
    const from = [event.clientX, event.clientY];
    const move = (now) => {
      const end = this.place(now);
      if (end) this.drawn = regionOf(this.kind, start, end);
      this.viewer.redraw();
    };
    const stop = (now) => {
      this.cover.removeEventListener("pointermove", move);
      const far = Math.hypot(now.clientX - from[0], now.clientY - from[1]);
      const region = far >= MIN_DRAG ? this.drawn : null;
      this.drawn = null;
      this.choose(null);
      if (region) this.measure(region).then(() => this.viewer.writeHash(true));
      else this.viewer.redraw();
    };
    this.cover.addEventListener("pointermove", move);
    this.cover.addEventListener("pointerup", stop, { once: true });
  }

  measure(region) {
    this.work = this.measured(region);
    return this.work;
  }

  async measured(region) {
    const turn = ++this.turn;
    this.found = null;
    const { viewer } = this;
    viewer.region = region;
    viewer.redraw();
    const body = this.drawer.querySelector("[data-part=body]");
    this.drawer.hidden = false;
    this.drawer.dataset.state = "asked";
    body.replaceChildren(make("p", { class: "dim" }, "measuring …"));
    const title = (name) => viewer.called(viewer.find(name));
    try {
      const found = await measure(region, viewer.measurable());
      if (turn !== this.turn) return;
      this.found = found;
      body.replaceChildren(...resultElements(region, found, title));
    } catch (error) {
      if (turn !== this.turn) return;
      body.replaceChildren(make("p", { class: "problem" }, error.message), button("Retry", () => this.measure(region)));
    }
    this.drawer.querySelector("h2").textContent = `${describe(region)} · ${formatRa(region.ra)} ${formatDec(region.dec)}`;
    this.drawer.dataset.state = "told";
  }

  restore(region) {
    const same = JSON.stringify(region) === JSON.stringify(this.viewer.region);
    if (region && !same) this.measure(region);
    if (!region) this.clear(false);
  }

  clear(step = true) {
    this.turn += 1;
    this.drawer.hidden = true;
    this.viewer.region = null;
    this.viewer.redraw();
    if (step) this.viewer.writeHash(true);
  }

  items() {
    const shapes = [this.viewer.region, this.drawn].filter(Boolean);
    return shapes.map((region) => ({ kind: "outline", corners: cornersOf(region), color: "#ffd54f", strong: true, open: region.kind === "line" }));
  }
}

function describe(region) {
  const arcsec = (value) => `${Number(value.toPrecision(4))}″`;
  if (region.kind === "circle") return `Circle of radius ${arcsec(region.radius)}`;
  if (region.kind === "box") return `Box of ${arcsec(region.width)} × ${arcsec(region.height)}`;
  return "Profile along a line";
}
