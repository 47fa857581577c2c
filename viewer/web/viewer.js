// What is shown: a base survey, others stacked on it or compared with it, what lies over them.

import { fromHash, toHash } from "./address.js";
import { keep, make, recall, shortName } from "./elements.js";
import { firstPicture, forget } from "./gate.js";
import { LiveColor, MaskPaint, SignalToNoise, planeColor } from "./live.js";
import { beside, parsePlace, patchesOf, viewOf } from "./patches.js";
import { Readout, isCovered } from "./readout.js";
import { defaultSettings, initialView, openSky, possible } from "./sky.js";

const $ = (id) => document.getElementById(id);
const OVERLAYS = ["grid", "patches", "coverage", "flags"];
let panels = null;
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
    this.inspected = null;
    this.region = null;
    this.colour = this.surveys.find((one) => one.name === "live-colour")?.maker.settings ?? null;
    this.blinker = null;
    this.work = Promise.resolve();
  }

  /** address: the part after # of what is shown first. */
  async open(address) {
    const asked = fromHash(address);
    this.remix(asked.colour);
    const first = this.find(asked.survey) ?? this.images()[0] ?? this.surveys[0];
    const { sky, layer } = await openSky($("sky"), first, this.settings.get(first.name), asked.view ?? initialView(first));
    this.sky = sky;
    this.base = await this.firstThatLoads(first, layer);
    document.body.dataset.state = "opening";
    await firstPicture();
    panels = await import("./panels.js");
    document.body.dataset.state = "open";
    this.panes = new panels.Panes($("panes"), sky, this);
    this.panel = new panels.LayerPanel($("layers"), this);
    this.flags = new panels.FlagPanel($("flags"), this);
    this.measuring = new panels.Measuring($("results"), this);
    this.catalogues = new panels.Catalogues($("catalogues"), this);
    const values = foldable($("inspect").querySelector("details"), "hipsgen-values");
    this.readout = new Readout(this.sky, $("readout"), (sky) => this.visible(sky), () => (values.open ? this.told() : []));
    values.addEventListener("toggle", () => this.readout.update());
    this.sky.onMove(() => this.moved());
    this.listen(sky);
    this.sky.onCuts((layer, low, high) => this.cutsDragged(layer, low, high));
    addEventListener("popstate", () => this.restore(fromHash(location.hash)));
    this.refresh();
    await Promise.all([this.flags.load(), this.catalogues.load()]);
    await this.restore(asked);
    this.moved();
  }

  /** A click in any of the views. */
  listen(sky) {
    sky.onClick(({ ra, dec }) => this.measuring.busy || this.catalogues.picked(sky, ra, dec) || this.inspect(ra, dec, this.seen(sky)));
    if (sky !== this.sky) this.readout.listen(sky);
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
    const asked = (this.asked = state);
    return this.queue(async () => {
      // of several steps back only the last counts
      if (asked !== this.asked) return;
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
      Object.assign(this.settings.get(survey.name), defaultSettings(survey), possible(survey, looks.get(survey.name)));
    }
    this.lock = state.lock;
    this.remix(state.colour);
    const survey = this.find(state.survey) ?? this.base;
    if (state.survey && state.survey !== survey.name) this.tell("Not here", `No survey ${state.survey.slice(0, 80)}: ${survey.title} is shown.`);
    const over = new Map(state.over.filter(([name]) => name !== survey.name && this.images().includes(this.find(name))));
    for (const name of [...this.stacked.keys()]) {
      if (!over.has(name) || this.isStale(this.sky.overlay(this.find(name)), this.find(name))) {
        this.sky.unstack(this.find(name));
        this.stacked.delete(name);
      }
    }
    if (survey !== this.base || this.isStale(this.sky.baseLayer(), survey)) {
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
    if (state.turned && this.mode === "blink") this.turnTo(true);
    this.badge();
    this.shown = new Set(state.shown.filter((name) => OVERLAYS.includes(name)));
    const masks = new Map(state.masks);
    for (const name of new Set([...masks.keys(), ...this.masks.keys()])) await this.paint(name, masks.get(name) ?? []);
    this.catalogues.restore(new Map(state.objects));
    this.showOverlays();
    if (state.here) this.inspectNow(...state.here, this.find(state.hereOf) ?? this.seen(this.sky));
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
      swipe: this.swipe, turned: this.flipped, shown: [...this.shown], lock: this.lock, region: this.region,
      here: this.here, hereOf: this.hereOf === this.base ? null : this.hereOf?.name,
      looks: [...this.settings].filter(([name]) => isShown(name)).filter(changed),
      masks: [...this.masks].filter(([, planes]) => planes.length),
      colour: isShown("live-colour") ? this.colour : null,
      objects: this.catalogues?.state() ?? [],
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
    this.counting = setTimeout(() => {
      this.panel.count();
      this.catalogues.renew();
    }, MOVED);
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

  /** The images in every band of the base's collection. */
  bands() {
    return this.withValues().filter((one) => !one.plane);
  }

  /** The surveys whose values are told beside that of the base: its collection's bands, and their variances. */
  withValues() {
    const { collection } = this.base ?? this.surveys[0];
    const values = this.images().filter((one) => !one.live && one.formats.includes("fits"));
    const near = values.filter((one) => one.collection === collection);
    return near.some((one) => !one.plane) ? near : values;
  }

  /** The survey that a view shows: the one the pointer is in, or the first. */
  seen(sky = this.panes?.pointed?.sky ?? this.sky) {
    const pane = this.panes?.panes.find((one) => one.sky === sky);
    return pane?.survey ?? (this.flipped ? this.blinker : this.base);
  }

  /** The images in every band, and those that are compared. */
  measurable() {
    const others = this.others.map((name) => this.find(name)).filter((one) => one && !one.live && !one.plane && one.formats.includes("fits"));
    return [...new Set([...this.bands(), ...others])];
  }

  /** What the table of values tells: those, and their variances. */
  told() {
    return [...new Set([...this.measurable(), ...this.withValues()])].map((survey) => ({ survey, label: this.called(survey) }));
  }

  /** A survey whose folder may keep a flag of what is seen. */
  flaggable() {
    return sourcesOf(this.seen())[0];
  }

  /** What the readout tells: the survey that a view shows, then those stacked on it. */
  visible(sky = this.sky) {
    const seen = this.seen(sky);
    const over = sky === this.sky ? this.surveys.filter((s) => this.stacked.has(s.name) && s !== seen) : [];
    const shown = [seen, ...over];
    return shown.map((survey) => ({ survey, label: shown.length > 1 || this.mode !== "single" ? this.called(survey) : "" }));
  }

  /** A short name, with the collection where another has the band, too. */
  called(survey) {
    const isTwin = (one) => !one.live && one.band === survey.band && one.plane === survey.plane && one.color === survey.color && one.collection !== survey.collection;
    return shortName(survey) + (!survey.live && this.images().some(isTwin) ? ` · ${survey.collection}` : "");
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
      this.turnTo(false);
      await this.sky.setBase(survey, this.settings.get(name));
      this.base = survey;
      this.badge();
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
    return name === this.base.name ? Number(!this.flipped) : (this.stacked.get(name) ?? 1);
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

  /** The mixture that an address tells of, if there are such bands and it is another. */
  remix(settings) {
    const isBand = (one) => one && !one.live && !one.color && !one.planes && one.formats.includes("fits");
    if (!settings || !this.colour || !settings.parts.every((name) => isBand(this.find(name)))) return;
    if (JSON.stringify(settings) !== JSON.stringify(this.colour)) this.mixed(settings);
  }

  /** Whether a layer asks under an address at which its survey does not answer any more. */
  isStale(layer, survey) {
    return layer?.url !== survey.url;
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
    if (before) {
      this.sky.unstack(before.survey);
      forget(before.survey.url);
    }
    this.painted.delete(name);
    const known = planes.filter((plane) => plane in mask.planes);
    this.masks.set(name, known);
    this.legend();
    if (!known.length) return;
    const paint = new MaskPaint(mask, known);
    await this.sky.stack(paint.survey, defaultSettings(paint.survey), 0.65);
    this.painted.set(name, paint);
  }

  /** Which colour is which plane, of those that are painted. */
  legend() {
    const painted = [...this.masks].flatMap(([name, planes]) => planes.map((plane) => ({ plane, mask: this.find(name) })));
    $("legend").hidden = !painted.length;
    $("legend").replaceChildren(...painted.map(({ plane, mask }) => {
      const item = make("span", {}, make("i", {}), `${plane} ${mask.band}`);
      item.style.setProperty("--plane", planeColor(plane));
      return item;
    }));
  }

  /** m: all masks of the base's band on, or all of them off. */
  toggleMasks() {
    const masks = this.surveys.filter((one) => one.planes);
    if (!masks.length) return this.tell("No mask survey", "Build one with “hipsgen build … --planes image,mask”.");
    const on = masks.some((one) => this.masks.get(one.name)?.length);
    const mine = masks.find((one) => one.band === this.base.band && one.collection === this.base.collection) ?? masks[0];
    const worst = Object.keys(mine.planes).filter((name) => !/^(DETECTED|OTHER|INEXACT)/.test(name));
    return this.step(async () => {
      if (on) {
        this.unpainted = [...this.masks].filter(([, planes]) => planes.length);
        for (const one of masks) await this.paint(one.name, []);
      } else for (const [name, planes] of this.unpainted ?? [[mine.name, worst]]) await this.paint(name, planes);
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
    const isTwin = (one) => one.band === this.base.band && one.plane === this.base.plane && one.collection !== this.base.collection;
    const alike = (one) => Number(isTwin(one)) * 2 + Number(!one.color && !one.live && !one.plane);
    rest.sort((a, b) => alike(b) - alike(a));
    const wanted = [...names.map((name) => this.find(name)), ...rest].filter(Boolean).slice(0, count);
    if (wanted.length < count) this.tell("Nothing to compare with", `There are ${this.images().length} surveys; ${mode === "4" ? "four views want four" : "two are needed"}.`);
    const over = this.blinker;
    if (over && (mode !== "blink" || over !== wanted[0] || this.isStale(this.sky.overlay(over, "blink"), over))) {
      this.sky.unstack(over, "blink");
      this.blinker = null;
    }
    this.mode = wanted.length ? mode : "single";
    this.others = wanted.map((one) => one.name);
    this.turnTo(false);
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
    // the other is still to come
    if (!this.blinker) return null;
    this.turnTo(!this.flipped);
    this.badge();
    this.readout.update();
    this.writeHash();
    return null;
  }

  /** Which of two that blink is seen; the other is not there, lest it show in the holes of this one. */
  turnTo(flipped) {
    this.flipped = flipped;
    this.sky.baseLayer().setOpacity(Number(!flipped));
    if (this.blinker) this.sky.overlay(this.blinker, "blink")?.setOpacity(Number(flipped));
  }

  /** What the first view shows, where there is something to compare it with. */
  badge() {
    $("badge").hidden = this.mode === "single";
    $("badge").textContent = this.seen(this.sky).title;
    const partner = $("partner");
    partner.hidden = this.mode !== "blink";
    const choose = partner.querySelector("select");
    choose.replaceChildren(...this.images().filter((one) => one !== this.base).map(({ name, title }) => make("option", { value: name }, title)));
    choose.value = this.others[0] ?? "";
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
    items.push(...this.catalogues.items(), ...this.measuring.items(), ...this.flags.items());
    if (this.here) items.push({ kind: "cross", ra: this.here[0], dec: this.here[1], color: "#66d9c2" });
    const pointed = this.panes?.pointed;
    if (pointed?.at && pointed.sky !== sky) items.push({ kind: "cross", ra: pointed.at[0], dec: pointed.at[1], color: "#ffffff", gap: 3 });
    return items;
  }

  inspect(ra, dec, survey) {
    this.inspectNow(ra, dec, survey);
    this.writeHash(true);
  }

  inspectNow(ra, dec, survey) {
    [this.here, this.hereOf] = [[ra, dec], survey];
    this.redraw();
    this.inspected = panels.coaddCard($("coadds"), survey.title, sourcesOf(survey), ra, dec, () => this.link()).catch((error) => this.fail(error));
  }

  forgetHere() {
    this.here = this.hereOf = null;
    $("coadds").hidden = true;
    this.redraw();
  }

  link() {
    return `${location.href.split(/[?#]/)[0]}#${this.hash()}`;
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

  /** Why a place is not found, or what it lacks; "" where all is well. */
  async complaintOf(text, place) {
    if (place) return this.base.live || (await isCovered(this.base, place.ra, place.dec)) ? "" : `${this.base.title} has nothing at ${place.text}.`;
    const [one] = await patchesOf(this.withPatches());
    const patches = one ? `, nor is it a patch of this survey, such as ${one.label}` : "";
    return `“${text.trim().slice(0, 40)}” is no position, such as 150.1 2.2 or 10:00:24 +02:12:00${patches}.`;
  }

  visitPlace(place) {
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

/** The surveys of the server that one is, or is made of; of coadds with their images, where one may choose. */
function sourcesOf(survey) {
  return survey.live ? survey.maker.parts.filter((part) => !part.plane) : [survey];
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
