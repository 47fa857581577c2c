// State of the page: a base survey, surveys stacked on it or compared with it, and overlays.

import { fromHash, toHash } from "./address.js";
import { keep, recall, shortName } from "./elements.js";
import { firstPicture } from "./gate.js";
import { madeHere } from "./live.js";
import { borderOf } from "./moc.js";
import { beside, parsePlace, patchesOf, viewOf } from "./patches.js";
import { Readout, isCovered } from "./readout.js";
import { shownAddress } from "./relative.js";
import { defaultSettings, initialView, isDrawn, openSky, possible } from "./sky.js";

const $ = (id) => document.getElementById(id);
const OVERLAYS = ["grid", "patches", "coverage", "flags"];
let panels = null;
const SETTLE_TIME = 350; // milliseconds without a move until histograms and catalogs are updated

export class Viewer {
  constructor(surveys) {
    this.surveys = [...surveys, ...madeHere(surveys)];
    this.settings = new Map(this.surveys.map((survey) => [survey.name, defaultSettings(survey)]));
    // names and opacities of the surveys stacked on the base, from bottom to top
    this.stacked = new Map();
    this.shown = new Set();
    this.lock = false;
    this.here = null;
    this.inspected = null;
    this.region = null;
    this.liveColor = this.surveys.find((one) => one.name === "live-colour")?.maker.settings ?? null;
    this.work = Promise.resolve();
  }

  /** Open the first view. address: the part after #. */
  async open(address) {
    const asked = fromHash(address);
    this.remix(asked.liveColor);
    const wanted = this.find(asked.survey) ?? this.images()[0] ?? this.surveys[0];
    const first = [wanted, ...this.drawn()].find(isDrawn) ?? wanted;
    const { sky, layer } = await openSky($("sky"), first, this.settings.get(first.name), asked.view ?? initialView(first));
    this.sky = sky;
    this.base = await this.firstThatLoads(first, layer);
    document.body.dataset.state = "opening";
    await firstPicture();
    panels = await import("./panels.js");
    document.body.dataset.state = "open";
    this.comparison = new panels.Comparison(this);
    this.masks = new panels.Masks($("legend"), this);
    this.panes = new panels.Panes($("panes"), sky, this);
    this.panel = new panels.LayerPanel($("layers"), this);
    this.flags = new panels.FlagPanel($("flags"), this);
    this.measuring = new panels.Measuring($("results"), this);
    this.catalogs = new panels.Catalogs($("catalogs"), this);
    const values = foldable($("inspect").querySelector("details"), "hipsgen-values");
    this.readout = new Readout(this.sky, $("readout"), (sky) => this.visible(sky), () => (values.open ? this.told() : []));
    values.addEventListener("toggle", () => this.readout.update());
    this.sky.onMove(() => this.moved());
    this.listen(sky);
    this.sky.onCuts((layer, low, high) => this.cutsDragged(layer, low, high));
    addEventListener("popstate", () => this.restore(fromHash(location.hash)));
    this.refresh();
    await Promise.all([this.flags.load(), this.catalogs.load()]);
    await this.restore(asked);
    this.moved();
  }

  /** Handle clicks in a view. */
  listen(sky) {
    sky.onClick(({ ra, dec }) => this.measuring.busy || this.catalogs.picked(sky, ra, dec) || this.inspect(ra, dec, this.seen(sky)));
    if (sky !== this.sky) this.readout.listen(sky);
  }

  /** Return the requested survey, or the first other one that can be shown. */
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

  /** Restore a state from an address. */
  restore(state) {
    const asked = (this.asked = state);
    return this.queue(async () => {
      // after several quick steps back, restore only the last one
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
    this.remix(state.liveColor);
    const survey = this.find(state.survey) ?? this.base;
    if (state.survey && state.survey !== survey.name) this.tell("Survey not found", `No survey ${state.survey.slice(0, 80)}: ${survey.title} is shown.`);
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
    // in their order
    this.stacked = over;
    if (state.view) this.sky.center(state.view);
    for (const name of [this.base.name, ...this.stacked.keys()]) this.apply(name);
    await this.comparison.restore(state);
    this.shown = new Set(state.shown.filter((name) => OVERLAYS.includes(name)));
    await this.masks.restore(state.masks);
    this.catalogs.restore(new Map(state.objects));
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
    const isShown = (name) => name === this.base.name || this.stacked.has(name) || this.comparison.others.includes(name);
    return {
      survey: this.base.name, view: this.sky.view(), over: [...this.stacked], ...this.comparison.state(),
      shown: [...this.shown], lock: this.lock, region: this.region,
      here: this.here, hereOf: this.hereOf === this.base ? null : this.hereOf?.name,
      looks: [...this.settings].filter(([name]) => isShown(name)).filter(changed),
      masks: this.masks.state(),
      liveColor: isShown("live-colour") ? this.liveColor : null,
      objects: this.catalogs?.state() ?? [],
    };
  }

  hash() {
    return toHash(this.state());
  }

  /** Write the state to the address. `step`: as a new entry, which the browser's "back" undoes. */
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
      this.catalogs.renew();
    }, SETTLE_TIME);
  }

  /** Update the panel when the cuts of a layer are dragged with the right mouse button in Aladin Lite. */
  cutsDragged(layer, low, high) {
    const survey = this.visible().map((shown) => shown.survey).find((one) => shownAddress(one) === layer.url);
    const settings = survey && this.settings.get(survey.name);
    if (!settings || settings.format !== "fits" || (settings.low === low && settings.high === high)) return;
    Object.assign(settings, { low, high });
    this.panel.update();
  }

  find(name) {
    return this.surveys.find((survey) => survey.name === name);
  }

  /** Return the surveys shown as images: all but masks, which are overlaid. */
  images() {
    return this.surveys.filter((survey) => !survey.planes);
  }

  /** Return the images that can be drawn. */
  drawn() {
    return this.images().filter(isDrawn);
  }

  /** Return the images in every band of the base's collection. */
  bands() {
    return this.withValues().filter((one) => !one.plane);
  }

  /** Return the surveys with pixel values in the base's collection: its bands, and their variances. */
  withValues() {
    const { collection } = this.base ?? this.surveys[0];
    const values = this.images().filter((one) => !one.live && one.formats.includes("fits"));
    const near = values.filter((one) => one.collection === collection);
    return near.some((one) => !one.plane) ? near : values;
  }

  /** Return the survey that a view shows (default: the view with the pointer, or the first). */
  seen(sky = this.panes?.pointed?.sky ?? this.sky) {
    const pane = this.panes?.panes.find((one) => one.sky === sky);
    return pane?.survey ?? this.comparison.seen;
  }

  /** Return the images in every band, and the compared ones. */
  measurable() {
    const others = this.comparison.others.map((name) => this.find(name)).filter((one) => one && !one.live && !one.plane && one.formats.includes("fits"));
    return [...new Set([...this.bands(), ...others])];
  }

  /** Return the surveys in the table of values: those, and their variances. */
  told() {
    return [...new Set([...this.measurable(), ...this.withValues()])].map((survey) => ({ survey, label: this.called(survey) }));
  }

  /** Return the survey in whose folder a flag is stored. */
  flaggable() {
    return sourcesOf(this.seen())[0];
  }

  /** Return the surveys of the readout: the one that a view shows, and those stacked on it. */
  visible(sky = this.sky) {
    const seen = this.seen(sky);
    const over = sky === this.sky ? this.surveys.filter((s) => this.stacked.has(s.name) && s !== seen) : [];
    const shown = [seen, ...over];
    return shown.map((survey) => ({ survey, label: shown.length > 1 || this.comparison.mode !== "single" ? this.called(survey) : "" }));
  }

  /** Return a short name, with the collection if another collection has the same band. */
  called(survey) {
    const isTwin = (one) => !one.live && one.band === survey.band && one.plane === survey.plane && one.color === survey.color && one.collection !== survey.collection;
    return shortName(survey) + (!survey.live && this.images().some(isTwin) ? ` · ${survey.collection}` : "");
  }

  /** Run changes one after the other: Aladin Lite adds layers when their properties arrive. */
  queue(change) {
    document.body.classList.add("busy");
    const work = this.work.then(change).then(() => this.arranged(), (error) => this.failed(error));
    this.work = work;
    work.then(() => this.work === work && document.body.classList.remove("busy"));
    return work;
  }

  /** Run a change as a step that "back" undoes. */
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
      this.comparison.turnTo(false);
      await this.sky.setBase(survey, this.settings.get(name));
      this.base = survey;
      this.comparison.badge();
      // the panel shows coadds of the previous survey
      this.forgetHere();
      this.showOverlays();
      // keep the view, for comparison, unless the survey has no data there
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

  /** Move a stacked survey above (step 1) or below (-1) its neighbor. */
  raise(name, step) {
    return this.step(() => {
      const all = [...this.stacked];
      const from = all.findIndex(([one]) => one === name);
      if (from < 0 || !all[from + step]) return;
      all.splice(from + step, 0, ...all.splice(from, 1));
      this.stacked = new Map(all);
    });
  }

  /** Set the order of the layers: base, blinking survey, stacked surveys, masks. */
  arranged() {
    const { blinker } = this.comparison;
    this.sky.arrange([
      ...(blinker ? [[blinker, "blink"]] : []),
      ...[...this.stacked.keys()].map((name) => [this.find(name), "over"]),
      ...this.masks.painting().map((survey) => [survey, "mask"]),
    ]);
    this.refresh();
  }

  /** Change the look of a survey; if locked, cuts and stretch of all bands. */
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
    this.comparison.apply(survey);
  }

  opacityOf(name) {
    return name === this.base.name ? Number(!this.comparison.turned) : (this.stacked.get(name) ?? 1);
  }

  /** Change the settings of the live color. */
  mix(part) {
    return this.step(async () => {
      this.mixed({ ...this.liveColor, ...part });
      const survey = this.find("live-colour");
      if (this.base === survey) await this.sky.setBase(survey, this.settings.get(survey.name));
      else if (this.stacked.has(survey.name)) {
        this.sky.unstack(survey);
        await this.sky.stack(survey, this.settings.get(survey.name), this.stacked.get(survey.name));
      }
      const { mode, others } = this.comparison;
      if (others.includes(survey.name)) await this.comparison.show(mode, others);
    });
  }

  /** Apply the live color of an address, if its bands exist and it differs. */
  remix(settings) {
    if (!settings || !this.liveColor) return;
    const bands = this.mixable();
    if (!settings.parts.every((name) => bands.includes(this.find(name)))) return;
    if (JSON.stringify(settings) !== JSON.stringify(this.liveColor)) this.mixed(settings);
  }

  /** Return the surveys that the live color can combine: those with its frame and tile width. */
  mixable() {
    const { frame, tile_width } = this.find("live-colour");
    return this.surveys.filter((one) => !one.live && !one.color && !one.planes && one.formats.includes("fits") && one.frame === frame && one.tile_width === tile_width);
  }

  /** Whether a layer uses an outdated URL of its survey. */
  isStale(layer, survey) {
    return layer?.url !== shownAddress(survey);
  }

  mixed(settings) {
    const { maker } = this.find("live-colour");
    this.liveColor = settings;
    maker.parts = settings.parts.map((name) => this.find(name));
    maker.settings = settings;
    maker.renew();
  }

  /** Show or hide the grid, patches, coverage or flags. */
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
      sky.showCoverage(this.shown.has("coverage") && survey.frame === "equatorial" ? survey : null);
    }
    this.border = [];
    // Aladin Lite takes the cells of every MOC for equatorial ones
    if (this.shown.has("coverage") && survey.frame !== "equatorial") {
      borderOf(survey).then((found) => {
        if (survey !== this.flaggable()) return;
        this.border = found;
        this.redraw();
      });
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

  /** Return the survey whose coadds are outlined. */
  withPatches() {
    return this.base.provenance ? this.base : (this.bands().find((one) => one.provenance) ?? this.base);
  }

  redraw() {
    this.panes?.redraw();
  }

  /** Return the overlay items of a view. */
  overlayItems(sky) {
    const patches = this.shown.has("patches") ? this.outlines : [];
    const items = patches.map(({ polygon, label }) => ({ kind: "outline", corners: polygon, color: "#9fb4d6", label }));
    if (this.shown.has("coverage")) items.push(...this.border.map((corners) => ({ kind: "outline", corners, color: "#66d9c2", open: true })));
    items.push(...this.catalogs.items(), ...this.measuring.items(), ...this.flags.items());
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
    // text with a decimal point or a colon is not a patch: do not wait for the patches
    const place = parsePlace(text, /[.:]/.test(text) ? [] : await patchesOf(this.withPatches()));
    if (!place) return null;
    const survey = place.band && this.bands().find((one) => one.band === place.band);
    if (survey) await this.select(survey.name);
    this.visitPlace(place);
    return place;
  }

  /** Return why a position is not found or has no data; "" if there is no problem. */
  async complaintOf(text, place) {
    if (place) return this.base.live || (await isCovered(this.base, place.ra, place.dec)) ? "" : `${this.base.title} has no data at ${place.text}.`;
    const [one] = await patchesOf(this.withPatches());
    const patches = one ? `, nor is it a patch of this survey, such as ${one.label}` : "";
    return `“${text.trim().slice(0, 40)}” is not a position such as 150.1 2.2 or 10:00:24 +02:12:00${patches}.`;
  }

  visitPlace(place) {
    this.sky.center(place);
    this.panes.align();
    this.writeHash(true);
  }

  /** Go to the next or previous patch, which fills the view. */
  async patch(step) {
    const found = beside(await patchesOf(this.withPatches()), this.sky.view(), step);
    if (found) this.visitPlace(viewOf(found));
    else this.tell("No patches", "This survey has no list of its coadds (provenance.fits).");
    return found;
  }

  /** Restore the view in which a flag was made. */
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
    for (const button of document.querySelectorAll("#modes button")) button.setAttribute("aria-pressed", String(button.dataset.mode === this.comparison.mode));
    $("lock").checked = this.lock;
  }

  /** Show why a change failed, and what is shown instead. */
  failed(error) {
    this.fail(error);
    this.refresh();
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

/** Restore and store whether an element is folded. */
function foldable(details, key) {
  details.open = recall(key) !== "closed";
  details.addEventListener("toggle", () => keep(key, details.open ? "open" : "closed"));
  return details;
}

/** Return the server's surveys from which a survey is computed, without variances; itself if it is not computed. */
function sourcesOf(survey) {
  return survey.live ? survey.maker.parts.filter((part) => !part.plane) : [survey];
}
