// Comparison of surveys: blinking, separated by a bar, or in linked views.

import { make } from "./elements.js";
import { isDrawn } from "./sky.js";

const PARTNERS = { single: 0, blink: 1, swipe: 1, 2: 1, 4: 3 };
const $ = (id) => document.getElementById(id);

export class Comparison {
  constructor(viewer) {
    this.viewer = viewer;
    this.mode = "single";
    // names of the surveys that the base is compared with
    this.others = [];
    this.swipe = 0.5;
    // the survey that blinks with the base, and whether it is the visible one
    this.blinker = null;
    this.turned = false;
    $("partner").querySelector("select").addEventListener("change", ({ target }) => {
      this.setOther(0, target.value);
      target.blur();
    });
  }

  /** The survey that the first view shows. */
  get seen() {
    return this.turned ? this.blinker : this.viewer.base;
  }

  /** "single", "swipe", "blink", "2" or "4" views. */
  choose(mode) {
    return this.viewer.step(() => this.show(mode, this.others));
  }

  setOther(i, name) {
    return this.viewer.step(() => this.show(this.mode, this.others.with(i, name)));
  }

  /** Set the mode. names: the surveys to compare with; missing ones are chosen automatically. */
  async show(mode, names) {
    const { viewer } = this;
    const wanted = this.partners(names).slice(0, PARTNERS[mode]);
    if (wanted.length < PARTNERS[mode]) viewer.tell("Nothing to compare with", `Number of surveys: ${viewer.drawn().length}; needed: ${mode === "4" ? "four" : "two"}.`);
    const { blinker } = this;
    if (blinker && (mode !== "blink" || blinker !== wanted[0] || viewer.isStale(this.layer(), blinker))) {
      viewer.sky.unstack(blinker, "blink");
      this.blinker = null;
    }
    this.mode = wanted.length ? mode : "single";
    this.others = wanted.map((one) => one.name);
    this.turnTo(false);
    await viewer.panes.show(this.mode, wanted);
    if (this.mode === "blink" && !this.blinker) {
      await viewer.sky.stack(wanted[0], viewer.settings.get(wanted[0].name), 0, "blink");
      this.blinker = wanted[0];
    }
    this.badge();
  }

  /** Return the named surveys, then all other images, those of the same band in other collections first. */
  partners(names) {
    const { base } = this.viewer;
    const rest = this.viewer.drawn().filter((one) => one !== base && !names.includes(one.name));
    const isTwin = (one) => one.band === base.band && one.plane === base.plane && one.collection !== base.collection;
    const alike = (one) => Number(isTwin(one)) * 2 + Number(!one.color && !one.live && !one.plane);
    rest.sort((a, b) => alike(b) - alike(a));
    return [...names.map((name) => this.viewer.find(name)), ...rest].filter((one) => one && isDrawn(one));
  }

  /** Switch to the other of two blinking surveys (space). */
  flip() {
    if (this.mode !== "blink") return this.choose("blink").then(() => this.mode === "blink" && this.flip());
    // the other one is still being loaded
    if (!this.blinker) return null;
    this.turnTo(!this.turned);
    this.badge();
    this.viewer.readout.update();
    this.viewer.writeHash();
    return null;
  }

  /** Show one of two blinking surveys; the other is transparent, so that it is not visible through holes. */
  turnTo(turned) {
    this.turned = turned;
    this.viewer.sky.baseLayer().setOpacity(Number(!turned));
    this.layer()?.setOpacity(Number(turned));
  }

  /** Return the blinking layer. */
  layer() {
    return this.blinker && this.viewer.sky.overlay(this.blinker, "blink");
  }

  /** Apply the current settings of a survey. */
  apply(survey) {
    this.viewer.panes.apply(survey);
    const layer = survey === this.blinker && this.layer();
    if (layer) this.viewer.sky.apply(layer, this.viewer.settings.get(survey.name), Number(this.turned));
  }

  /** Show which survey the first view shows, while surveys are compared. */
  badge() {
    const { base } = this.viewer;
    $("badge").hidden = this.mode === "single";
    $("badge").textContent = this.seen.title;
    const partner = $("partner");
    partner.hidden = this.mode !== "blink";
    const choose = partner.querySelector("select");
    choose.replaceChildren(...this.viewer.drawn().filter((one) => one !== base).map(({ name, title }) => make("option", { value: name }, title)));
    choose.value = this.others[0] ?? "";
  }

  setSwipe(at) {
    this.swipe = Math.min(0.98, Math.max(0.02, at));
    this.viewer.panes.place();
    this.viewer.writeHash();
  }

  state() {
    return { mode: this.mode, others: this.others, swipe: this.swipe, turned: this.turned };
  }

  async restore({ mode, others, swipe, turned }) {
    this.swipe = swipe;
    await this.show(mode, others.filter((name) => this.viewer.find(name)));
    if (turned && this.blinker) this.turnTo(true);
    this.badge();
  }
}
