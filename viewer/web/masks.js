// Planes of mask surveys, overlaid on every view, each in its own color.

import { make } from "./elements.js";
import { forget } from "./gate.js";
import { MaskPaint, planeColor } from "./live.js";
import { defaultSettings, refuseUndrawn } from "./sky.js";

const OPACITY = 0.65;
// planes that are set nearly everywhere, or harmless
const MILD = /^(DETECTED|OTHER|INEXACT)/;

export class Masks {
  /** legend: the element that lists the planes and their colors. */
  constructor(legend, viewer) {
    this.legend = legend;
    this.viewer = viewer;
    this.surveys = viewer.surveys.filter((one) => one.planes);
    // by name of the mask survey: the chosen planes, and the survey that paints them
    this.chosen = new Map();
    this.paints = new Map();
    // the planes that were chosen before all were turned off
    this.last = null;
  }

  planesOf(name) {
    return this.chosen.get(name) ?? [];
  }

  /** Return the surveys that paint masks, from bottom to top. */
  painting() {
    return [...this.paints.values()].map((paint) => paint.survey);
  }

  /** Overlay planes of a mask survey; an empty list removes them. */
  set(name, planes) {
    return this.viewer.step(() => this.paint(name, planes));
  }

  async paint(name, planes) {
    const mask = this.surveys.find((one) => one.name === name);
    if (!mask) return;
    const known = planes.filter((plane) => Object.hasOwn(mask.planes, plane));
    if (known.join() === this.planesOf(name).join()) return;
    if (known.length) refuseUndrawn(mask);
    const skies = this.viewer.panes.all;
    const before = this.paints.get(name);
    if (before) {
      for (const sky of skies) sky.unstack(before.survey, "mask");
      forget(before.survey.url);
    }
    this.paints.delete(name);
    this.chosen.set(name, known);
    this.explain();
    if (!known.length) return;
    const paint = new MaskPaint(mask, known);
    this.paints.set(name, paint);
    await Promise.all(skies.map((sky) => lay(paint.survey, sky)));
  }

  /** Overlay the masks on a new view. */
  async cover(sky) {
    for (const survey of this.painting()) await lay(survey, sky);
  }

  explain() {
    const items = [...this.chosen].flatMap(([name, planes]) => planes.map((plane) => {
      const item = make("span", {}, make("i", {}), `${plane} ${this.viewer.find(name).band}`);
      item.style.setProperty("--plane", planeColor(plane));
      return item;
    }));
    this.legend.hidden = !items.length;
    this.legend.replaceChildren(...items);
  }

  /** Turn on the mask of the base's band, or turn off all masks (key m). */
  toggle() {
    const { viewer } = this;
    if (!this.surveys.length) return viewer.tell("No mask survey", "Build one with “hipsgen build … --planes image,mask”.");
    return viewer.step(async () => {
      const shown = this.state();
      if (shown.length) this.last = shown;
      const wanted = shown.length ? shown.map(([name]) => [name, []]) : (this.last ?? [this.worst()]);
      for (const [name, planes] of wanted) await this.paint(name, planes);
    });
  }

  /** Return the mask survey of the base, and its harmful planes. */
  worst() {
    const { band, collection } = this.viewer.base;
    const mask = this.surveys.find((one) => one.band === band && one.collection === collection) ?? this.surveys[0];
    return [mask.name, Object.keys(mask.planes).filter((plane) => !MILD.test(plane))];
  }

  state() {
    return [...this.chosen].filter(([, planes]) => planes.length);
  }

  async restore(state) {
    const wanted = new Map(state);
    for (const { name } of this.surveys) await this.paint(name, wanted.get(name) ?? []);
  }
}

function lay(survey, sky) {
  return sky.stack(survey, defaultSettings(survey), OPACITY, "mask");
}
