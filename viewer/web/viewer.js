// What is shown: a base survey, others stacked on it or compared with it, what lies over them.

import { fromHash, toHash } from "./address.js";
import { Panes } from "./compare.js";
import { keep, recall } from "./elements.js";
import { FlagPanel } from "./flags.js";
import { coaddCard } from "./inspect.js";
import { LayerPanel } from "./layers.js";
import { LiveColor, MaskPaint, SignalToNoise } from "./live.js";
import { Measuring } from "./measuring.js";
import { beside, parsePlace, patchesOf, viewOf } from "./patches.js";
import { Readout, isCovered } from "./readout.js";
import { defaultSettings, initialView, openSky } from "./sky.js";

const $ = (id) => document.getElementById(id);
const OVERLAYS = ["grid", "patches", "coverage", "flags"];
const MOVED = 350; // milliseconds without a move, until what is on the screen is counted again

export class Viewer {
  constructor(surveys) {
    this.surveys = [...surveys, ...madeHere(surveys)];
    this.settings = new Map(this.surveys.map((survey) => [survey.name, defaultSettings(survey)]));
    this.stacked = new Map();
    this.masks = new Map();
    this.painted = new Map();
    this.shown = new Set();
    this.mode = "single";
    this.others = [];
    this.swipe = 0.5;
    this.lock = false;
    this.here = null;
    this.region = null;
    this.colour = this.surveys.find((one) => one.name === "live-colour")?.maker.settings ?? null;
    this.work = Promise.resolve();
  }

  async open() {
    const asked = fromHash(location.hash);
    const first = this.find(asked.survey) ?? this.images()[0] ?? this.surveys[0];
    const { sky, layer } = await openSky($("sky"), first, this.settings.get(first.name), asked.view ?? initialView(first));
    this.sky = sky;
    this.base = await this.firstThatLoads(first, layer);
    this.panes = new Panes($("panes"), sky, this);
    this.panel = new LayerPanel($("layers"), this);
    this.flags = new FlagPanel($("flags"), this);
    this.measuring = new Measuring($("results"), this);
    const values = foldable($("inspect").querySelector("details"), "hipsgen-values");
    this.readout = new Readout(this.sky, $("readout"), () => this.visible(), () => (values.open ? this.bands() : []));
    values.addEventListener("toggle", () => this.readout.update());
    this.sky.onMove(() => this.moved());
    this.listen(sky);
    this.sky.onCuts((layer, low, high) => this.cutsDragged(layer, low, high));
    addEventListener("popstate", () => this.restore(fromHash(location.hash)));
    this.refresh();
    await this.flags.load();
    await this.restore(asked);
    this.moved();
  }

  /** A click in any of the views. */
  listen(sky) {
    sky.onClick(({ ra, dec }) => this.measuring.busy || this.inspect(ra, dec));
  }

  /** The survey that was asked for, else the next one that can be shown. */
  async firstThatLoads(first, layer) {
    const failed = await this.sky.added(layer).then(() => null, (error) => error);
    if (!failed) return first;
    this.fail(failed);
    for (const survey of this.images().filter((other) => other !== first)) {
      try {
        await this.sky.setBase(survey, this.settings.get(survey.name));
        this.sky.center(initialView(survey));
        return survey;
      } catch (error) {
        this.fail(error);
      }
    }
    throw failed;
  }

  /** Be as an address says. */
  restore(state) {
    return this.queue(async () => {
      this.restoring = true;
      try {
        await this.restored(state);
      } finally {
        this.restoring = false;
      }
    });
  }

  async restored(state) {
    const looks = new Map(state.looks);
    for (const survey of this.surveys) {
      Object.assign(this.settings.get(survey.name), defaultSettings(survey), looks.get(survey.name));
    }
    this.lock = state.lock;
    if (state.colour && this.colour && state.colour.parts.every((name) => this.find(name))) this.mixed(state.colour);
    const survey = this.find(state.survey) ?? this.base;
    const over = new Map(state.over.filter(([name]) => this.find(name) && name !== survey.name));
    for (const name of [...this.stacked.keys()]) {
      if (!over.has(name)) {
        this.sky.unstack(this.find(name));
        this.stacked.delete(name);
      }
    }
    if (survey !== this.base) {
      await this.sky.setBase(survey, this.settings.get(survey.name));
      this.base = survey;
    }
    for (const [name, opacity] of over) {
      if (!this.stacked.has(name)) await this.sky.stack(this.find(name), this.settings.get(name), opacity);
      this.stacked.set(name, opacity);
    }
    if (state.view) this.sky.center(state.view);
    for (const name of [this.base.name, ...this.stacked.keys()]) this.apply(name);
    this.swipe = state.swipe;
    await this.compared(state.mode, state.others.filter((name) => this.find(name)));
    this.shown = new Set(state.shown.filter((name) => OVERLAYS.includes(name)));
    const masks = new Map(state.masks);
    for (const name of new Set([...masks.keys(), ...this.masks.keys()])) await this.paint(name, masks.get(name) ?? []);
    this.showOverlays();
    if (state.here) this.inspectNow(...state.here);
    else this.forgetHere();
    this.measuring.restore(state.region);
  }

  state() {
    const changed = ([name, look]) => {
      const first = defaultSettings(this.find(name));
      return Object.keys(first).some((key) => look[key] !== first[key]);
    };
    const isShown = (name) => name === this.base.name || this.stacked.has(name) || this.others.includes(name);
    return {
      survey: this.base.name, view: this.sky.view(), over: [...this.stacked], mode: this.mode, others: this.others,
      swipe: this.swipe, shown: [...this.shown], lock: this.lock, here: this.here, region: this.region,
      looks: [...this.settings].filter(([name]) => isShown(name)).filter(changed),
      masks: [...this.masks].filter(([, planes]) => planes.length),
      colour: isShown("live-colour") ? this.colour : null,
    };
  }

  hash() {
    return toHash(this.state());
  }

  /** The address says what is on the screen; `step`: one that the browser's "back" undoes. */
  writeHash(step = false) {
    if (this.restoring || !this.panel) return;
    this.isStep ||= step;
    clearTimeout(this.hashing);
    this.hashing = setTimeout(() => {
      const address = `#${this.hash()}`;
      if (address !== location.hash) history[this.isStep ? "pushState" : "replaceState"](null, "", address);
      this.isStep = false;
    }, 200);
  }

  moved() {
    this.writeHash();
    clearTimeout(this.counting);
    this.counting = setTimeout(() => this.panel.count(), MOVED);
  }

  /** The right button drags the cuts of a layer in Aladin Lite: the panel follows. */
  cutsDragged(layer, low, high) {
    const survey = this.visible().map((shown) => shown.survey).find((one) => one.url === layer.url);
    const settings = survey && this.settings.get(survey.name);
    if (!settings || settings.format !== "fits" || (settings.low === low && settings.high === high)) return;
    Object.assign(settings, { low, high });
    this.panel.update();
  }

  find(name) {
    return this.surveys.find((survey) => survey.name === name);
  }

  /** All that are looked at as pictures; masks are painted instead. */
  images() {
    return this.surveys.filter((survey) => !survey.planes);
  }

  /** The surveys whose values are told beside that of the base: the bands of its collection. */
  bands() {
    const { collection } = this.base ?? this.surveys[0];
    const values = this.images().filter((one) => !one.live && one.formats.includes("fits"));
    const near = values.filter((one) => one.collection === collection);
    return near.length ? near : values;
  }

  /** A survey whose folder may keep a flag. */
  flaggable() {
    return this.base.live ? this.bands()[0] : this.base;
  }

  /** What the readout tells: the survey that is seen, then those stacked on it. */
  visible() {
    const seen = this.mode === "blink" && this.flipped ? this.find(this.others[0]) : this.base;
    const shown = [seen, ...this.surveys.filter((s) => this.stacked.has(s.name) && s !== seen)];
    return shown.map((survey) => ({ survey, label: shown.length > 1 ? survey.band || survey.title : "" }));
  }

  /** One change after the other: Aladin Lite takes layers in as their properties arrive. */
  queue(change) {
    document.body.classList.add("busy");
    const work = this.work.then(change).then(() => this.refresh(), (error) => this.fail(error));
    this.work = work;
    work.then(() => this.work === work && document.body.classList.remove("busy"));
    return work;
  }

  /** The same, as a step that "back" undoes. */
  step(change) {
    return this.queue(async () => {
      await change();
      this.writeHash(true);
    });
  }

  select(name) {
    return this.step(async () => {
      const survey = this.find(name);
      if (!survey || survey === this.base || survey.planes) return;
      if (this.stacked.delete(name)) this.sky.unstack(survey);
      await this.sky.setBase(survey, this.settings.get(name));
      this.base = survey;
      // it told of the other survey
      this.forgetHere();
      this.showOverlays();
      // the view stays, to compare; but not on an empty sky
      const { ra, dec } = this.sky.view();
      if (!survey.live && !(await isCovered(survey, ra, dec))) this.sky.center(initialView(survey));
    });
  }

  stack(name, on) {
    return this.step(async () => {
      const survey = this.find(name);
      if (survey === this.base || on === this.stacked.has(name)) return;
      if (on) {
        await this.sky.stack(survey, this.settings.get(name), 0.5);
        this.stacked.set(name, 0.5);
      } else {
        this.sky.unstack(survey);
        this.stacked.delete(name);
      }
    });
  }

  /** Another look of a survey; cuts and stretch of all bands, when they are locked together. */
  change(name, part) {
    const all = this.lock && this.bands().some((one) => one.name === name) ? this.bands() : [this.find(name)];
    const shared = Object.fromEntries(Object.entries(part).filter(([key]) => ["low", "high", "stretch"].includes(key)));
    for (const survey of all) Object.assign(this.settings.get(survey.name), survey.name === name ? part : shared);
    return this.step(() => all.forEach((survey) => this.apply(survey.name)));
  }

  setLock(on) {
    this.lock = on;
    const { low, high, stretch } = this.settings.get(this.base.name);
    const isBand = this.bands().includes(this.base);
    return on && isBand ? this.change(this.base.name, { low, high, stretch }) : this.step(() => {});
  }

  fade(name, opacity) {
    this.stacked.set(name, opacity);
    return this.step(() => this.apply(name));
  }

  reset(name) {
    return this.change(name, defaultSettings(this.find(name)));
  }

  apply(name) {
    const survey = this.find(name);
    const layer = survey === this.base ? this.sky.baseLayer() : this.sky.overlay(survey);
    if (layer) this.sky.apply(layer, this.settings.get(name), this.opacityOf(name));
    this.panes?.apply(survey);
    if (this.mode === "blink" && this.others[0] === name) {
      const over = this.sky.overlay(survey, "blink");
      if (over) this.sky.apply(over, this.settings.get(name), this.flipped ? 1 : 0);
    }
  }

  opacityOf(name) {
    return name === this.base.name ? 1 : (this.stacked.get(name) ?? 1);
  }

  /** Another mixture of the live colour. */
  mix(part) {
    return this.step(async () => {
      this.mixed({ ...this.colour, ...part });
      const survey = this.find("live-colour");
      if (this.base === survey) await this.sky.setBase(survey, this.settings.get(survey.name));
      else if (this.stacked.has(survey.name)) {
        this.sky.unstack(survey);
        await this.sky.stack(survey, this.settings.get(survey.name), this.stacked.get(survey.name));
      }
      if (this.others.includes(survey.name)) await this.compared(this.mode, this.others);
    });
  }

  mixed(settings) {
    const { maker } = this.find("live-colour");
    this.colour = settings;
    maker.parts = settings.parts.map((name) => this.find(name));
    maker.settings = settings;
    maker.renew();
  }

  /** Paint planes of a mask survey over the others; none: not at all. */
  setMask(name, planes) {
    return this.step(() => this.paint(name, planes));
  }

  async paint(name, planes) {
    const mask = this.find(name);
    if (!mask?.planes) return;
    const before = this.painted.get(name);
    if (before) this.sky.unstack(before.survey);
    this.painted.delete(name);
    const known = planes.filter((plane) => plane in mask.planes);
    this.masks.set(name, known);
    if (!known.length) return;
    const paint = new MaskPaint(mask, known);
    await this.sky.stack(paint.survey, defaultSettings(paint.survey), 0.65);
    this.painted.set(name, paint);
  }

  /** m: all masks of the base's band on, or all of them off. */
  toggleMasks() {
    const masks = this.surveys.filter((one) => one.planes);
    if (!masks.length) return this.tell("No mask survey", "Build one with “hipsgen build … --planes image,mask”.");
    const on = masks.some((one) => this.masks.get(one.name)?.length);
    const mine = masks.find((one) => one.band === this.base.band && one.collection === this.base.collection) ?? masks[0];
    const worst = Object.keys(mine.planes).filter((name) => !/^(DETECTED|OTHER|INEXACT)/.test(name));
    return this.step(async () => {
      if (on) for (const one of masks) await this.paint(one.name, []);
      else await this.paint(mine.name, worst);
    });
  }

  /** "single", "swipe", "blink", "2" or "4" views. */
  compare(mode) {
    return this.step(() => this.compared(mode, this.others));
  }

  setOther(i, name) {
    return this.step(() => this.compared(this.mode, this.others.with(i, name)));
  }

  async compared(mode, names) {
    const count = { single: 0, blink: 1, swipe: 1, 2: 1, 4: 3 }[mode];
    const rest = this.images().filter((one) => one !== this.base && !names.includes(one.name));
    const alike = (one) => Number(one.band === this.base.band && one.collection !== this.base.collection) * 2 + Number(!one.color && !one.live);
    rest.sort((a, b) => alike(b) - alike(a));
    const wanted = [...names.map((name) => this.find(name)), ...rest].filter(Boolean).slice(0, count);
    if (wanted.length < count) this.tell("Nothing to compare with", `There are ${this.images().length} surveys; ${mode === "4" ? "four views want four" : "two are needed"}.`);
    const over = this.blinker;
    if (over && (mode !== "blink" || over !== wanted[0])) {
      this.sky.unstack(over, "blink");
      this.blinker = null;
    }
    this.mode = wanted.length ? mode : "single";
    this.others = wanted.map((one) => one.name);
    this.flipped = false;
    await this.panes.show(this.mode, wanted);
    if (this.mode === "blink" && !this.blinker) {
      await this.sky.stack(wanted[0], this.settings.get(wanted[0].name), 0, "blink");
      this.blinker = wanted[0];
    }
    this.badge();
  }

  /** Space: the other of two surveys. */
  flip() {
    if (this.mode !== "blink") return this.compare("blink").then(() => this.mode === "blink" && this.flip());
    this.flipped = !this.flipped;
    this.sky.overlay(this.blinker, "blink")?.setOpacity(this.flipped ? 1 : 0);
    this.badge();
    this.readout.update();
    return null;
  }

  badge() {
    const badge = $("badge");
    badge.hidden = this.mode !== "blink";
    if (!badge.hidden) badge.textContent = (this.flipped ? this.blinker : this.base).title;
  }

  setSwipe(at) {
    this.swipe = Math.min(0.98, Math.max(0.02, at));
    this.panes.place();
    this.writeHash();
  }

  /** Grid, patches, coverage, flags: shown or not. */
  toggle(name, on = !this.shown.has(name)) {
    if (on) this.shown.add(name);
    else this.shown.delete(name);
    this.showOverlays();
    this.refresh();
    this.writeHash(true);
  }

  showOverlays() {
    const survey = this.flaggable();
    for (const sky of this.panes.all) {
      sky.showGrid(this.shown.has("grid"));
      sky.showCoverage(this.shown.has("coverage") ? survey : null);
    }
    $("flags").hidden = !this.shown.has("flags");
    this.outlines = [];
    if (this.shown.has("patches")) {
      patchesOf(this.withPatches()).then((found) => {
        this.outlines = found;
        this.redraw();
      });
    }
    this.redraw();
  }

  /** The survey whose coadds are outlined. */
  withPatches() {
    return this.base.provenance ? this.base : (this.bands().find((one) => one.provenance) ?? this.base);
  }

  redraw() {
    this.panes?.redraw();
  }

  /** What is drawn over one of the views. */
  overlayItems(sky) {
    const patches = this.shown.has("patches") ? this.outlines : [];
    const items = patches.map(({ polygon, label }) => ({ kind: "outline", corners: polygon, color: "#9fb4d6", label }));
    items.push(...this.measuring.items(), ...this.flags.items());
    if (this.here) items.push({ kind: "cross", ra: this.here[0], dec: this.here[1], color: "#66d9c2" });
    const pointed = this.panes?.pointed;
    if (pointed?.at && pointed.sky !== sky) items.push({ kind: "cross", ra: pointed.at[0], dec: pointed.at[1], color: "#ffffff", gap: 3 });
    return items;
  }

  inspect(ra, dec) {
    this.inspectNow(ra, dec);
    this.writeHash(true);
  }

  inspectNow(ra, dec) {
    this.here = [ra, dec];
    this.redraw();
    const survey = this.base.live ? this.withPatches() : this.base;
    coaddCard($("coadds"), survey, ra, dec, () => this.link()).catch((error) => this.fail(error));
  }

  forgetHere() {
    this.here = null;
    $("coadds").hidden = true;
    this.redraw();
  }

  link() {
    return `${location.href.split("#")[0]}#${this.hash()}`;
  }

  async goTo(text) {
    // what has a point or a colon is no patch, and need not wait for them
    const place = parsePlace(text, /[.:]/.test(text) ? [] : await patchesOf(this.withPatches()));
    if (!place) return null;
    const survey = place.band && this.bands().find((one) => one.band === place.band);
    if (survey) await this.select(survey.name);
    this.visitPlace(place);
    return place;
  }

  visitPlace(place) {
    this.panes.leader = this.sky;
    this.sky.center(place);
    this.panes.align();
    this.writeHash(true);
  }

  /** The next or the previous patch, filling the view. */
  async patch(step) {
    const found = beside(await patchesOf(this.withPatches()), this.sky.view(), step);
    if (found) this.visitPlace(viewOf(found));
    else this.tell("No patches", "This survey does not say of which coadds it was made.");
    return found;
  }

  /** Go where a flag was raised, and look as it was looked then. */
  visit(flag) {
    if (!flag.view) return this.visitPlace({ ra: flag.ra, dec: flag.dec });
    const state = fromHash(flag.view);
    return this.restore({ ...state, view: state.view && { ...state.view, ra: flag.ra, dec: flag.dec }, shown: [...new Set([...state.shown, "flags"])] }).then(() => this.writeHash(true));
  }

  refresh() {
    this.panel?.update();
    this.readout?.update();
    this.writeHash();
    document.title = `${this.base.title} – hipsgen`;
    for (const name of OVERLAYS) $(name === "flags" ? "flags-toggle" : name).setAttribute("aria-pressed", String(this.shown.has(name)));
    for (const button of document.querySelectorAll("#modes button")) button.setAttribute("aria-pressed", String(button.dataset.mode === this.mode));
    $("lock").checked = this.lock;
  }

  fail(error) {
    this.tell("A survey could not be shown", String(error?.message ?? error));
  }

  tell(title, text) {
    $("notice").querySelector("h2").textContent = title;
    $("notice").querySelector("p").textContent = text;
    $("notice").hidden = false;
  }
}

/** Folded or not as it was left. */
function foldable(details, key) {
  details.open = recall(key) !== "closed";
  details.addEventListener("toggle", () => keep(key, details.open ? "open" : "closed"));
  return details;
}

/** Surveys that the page makes itself: a live colour of three bands, signal to noise. */
function madeHere(surveys) {
  const made = [];
  const values = surveys.filter((one) => one.formats.includes("fits") && one.bitpix && !one.planes);
  for (const variance of values.filter((one) => one.plane === "variance")) {
    const image = values.find((one) => !one.plane && one.band === variance.band && one.collection === variance.collection);
    if (image) made.push(new SignalToNoise(image, variance));
  }
  const bands = values.filter((one) => !one.plane && !one.color);
  const [first] = bands;
  const alike = bands.filter((one) => one.collection === first.collection && one.frame === first.frame && one.tile_width === first.tile_width && one.unit === first.unit && one.order === first.order);
  if (alike.length >= 3) {
    // bands go from blue to red
    const parts = [alike.at(-1), alike[Math.floor((alike.length - 1) / 2)], alike[0]];
    const cuts = parts.map((part) => part.cuts ?? part.data_range ?? [0, 1]);
    const span = Math.max(...cuts.map(([, high]) => high));
    // the lower cut is a few times the noise of the sky below it
    const noise = Math.max(...cuts.map(([low]) => Math.abs(low)), span / 2000);
    const q = Math.max(1, Number((span / noise / 2).toPrecision(2)));
    const settings = { parts: parts.map((part) => part.name), q, span, low: [0, 0, 0], gain: parts.map((part) => part.white ?? 1) };
    made.push(new LiveColor(parts, settings));
  }
  return made.map((maker) => Object.assign(maker.survey, { maker }));
}
