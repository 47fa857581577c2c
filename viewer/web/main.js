// The viewer's page: one base survey, others stacked on it, a readout, a place to go to.

import { coaddCard } from "./coadds.js";
import { parsePosition } from "./coords.js";
import { LayerPanel } from "./layers.js";
import { Readout, isCovered, probe } from "./readout.js";
import { defaultSettings, initialView, openSky, shownFormats } from "./sky.js";

const $ = (id) => document.getElementById(id);

class Viewer {
  constructor(surveys) {
    this.surveys = surveys;
    this.settings = new Map(surveys.map((survey) => [survey.name, defaultSettings(survey)]));
    this.stacked = new Map();
    this.work = Promise.resolve();
  }

  async open() {
    const asked = readHash();
    const first = this.find(asked.survey) ?? this.surveys[0];
    const view = { ...initialView(first), ...asked.view };
    const { sky, layer } = await openSky($("sky"), first, this.settings.get(first.name), view);
    this.sky = sky;
    this.base = await this.firstThatLoads(first, layer);
    this.panel = new LayerPanel($("layers"), this);
    this.readout = new Readout(this.sky, $("readout"), () => this.visible());
    this.sky.onMove(() => this.writeHash());
    this.sky.onClick(({ ra, dec }) => coaddCard($("coadds"), this.base, ra, dec));
    this.sky.onCuts((layer, low, high) => this.cutsDragged(layer, low, high));
    this.refresh();
  }

  /** The survey that was asked for, else the next one that can be shown. */
  async firstThatLoads(first, layer) {
    const failed = await this.sky.added(layer).then(() => null, (error) => error);
    if (!failed) return first;
    this.fail(failed);
    for (const survey of this.surveys.filter((other) => other !== first)) {
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

  /** What the readout tells: the base survey, then those stacked on it. */
  visible() {
    const shown = [this.base, ...this.surveys.filter((s) => this.stacked.has(s.name))];
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

  select(name) {
    return this.queue(async () => {
      const survey = this.find(name);
      if (!survey || survey === this.base) return;
      if (this.stacked.delete(name)) this.sky.unstack(survey);
      await this.sky.setBase(survey, this.settings.get(name));
      this.base = survey;
      // it told of the other survey
      $("coadds").hidden = true;
      // the view stays, to compare; but not on an empty sky
      const [ra, dec] = this.sky.position(null);
      if (!(await isCovered(survey, ra, dec))) this.sky.center(initialView(survey));
    });
  }

  stack(name, on) {
    return this.queue(async () => {
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

  change(name, part) {
    Object.assign(this.settings.get(name), part);
    return this.queue(() => this.apply(name));
  }

  fade(name, opacity) {
    this.stacked.set(name, opacity);
    return this.queue(() => this.apply(name));
  }

  reset(name) {
    return this.change(name, defaultSettings(this.find(name)));
  }

  apply(name) {
    const survey = this.find(name);
    const layer = survey === this.base ? this.sky.baseLayer() : this.sky.overlay(survey);
    if (layer) this.sky.apply(layer, this.settings.get(name), this.stacked.get(name) ?? 1);
  }

  refresh() {
    this.panel.update();
    this.readout.update();
    this.writeHash();
    document.title = `${this.base.title} – hipsgen`;
  }

  fail(error) {
    notice("A survey could not be shown", String(error?.message ?? error));
  }

  goTo(text) {
    const position = parsePosition(text);
    if (position) this.sky.center(position);
    return position !== null;
  }

  writeHash() {
    clearTimeout(this.hashing);
    this.hashing = setTimeout(() => {
      const [ra, dec] = this.sky.position(null);
      const view = { ra: ra.toFixed(6), dec: dec.toFixed(6), fov: this.sky.fov().toPrecision(4) };
      history.replaceState(null, "", `#${new URLSearchParams({ survey: this.base.name, ...view })}`);
    }, 200);
  }
}

function readHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const numbers = ["ra", "dec", "fov"].map((key) => [key, Number.parseFloat(asked.get(key))]);
  const view = Object.fromEntries(numbers.filter(([, value]) => Number.isFinite(value)));
  const isWhole = Math.abs(view.dec) <= 90 && "ra" in view && view.fov > 0;
  return { survey: asked.get("survey"), view: isWhole ? view : {} };
}

function notice(title, text) {
  $("notice").querySelector("h2").textContent = title;
  $("notice").querySelector("p").textContent = text;
  $("notice").hidden = false;
}

function wireTools(viewer) {
  $("goto").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = $("goto-text");
    const went = viewer.goTo(input.value);
    $("goto-error").hidden = went;
    input.setAttribute("aria-invalid", String(!went));
  });
  $("goto-text").addEventListener("input", () => {
    $("goto-error").hidden = true;
    $("goto-text").removeAttribute("aria-invalid");
  });
  $("zoom-in").addEventListener("click", () => viewer.sky.zoom(0.5));
  $("zoom-out").addEventListener("click", () => viewer.sky.zoom(2));
  $("home").addEventListener("click", () => viewer.sky.center(initialView(viewer.base)));
  toggle($("grid"), (on) => viewer.sky.showGrid(on));
  toggle($("panel-toggle"), (on) => document.body.classList.toggle("panel-closed", !on));
  $("notice").querySelector("button").addEventListener("click", () => ($("notice").hidden = true));
  addEventListener("keydown", (event) => pressed(viewer, event));
}

function toggle(button, act) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    act(on);
  });
}

/** 1 to 9 switch the base survey, unless a number is being typed. */
function pressed(viewer, event) {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const survey = /^[1-9]$/.test(event.key) && viewer.surveys[Number(event.key) - 1];
  if (survey) viewer.select(survey.name);
}

async function fetchSurveys() {
  const answer = await fetch("api/surveys");
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const surveys = await answer.json();
  return surveys
    .map((survey) => ({ ...survey, url: new URL(survey.url, document.baseURI).href }))
    .filter((survey) => shownFormats(survey).length);
}

async function start() {
  const surveys = await fetchSurveys();
  if (!surveys.length) {
    document.body.classList.add("empty");
    notice("No surveys yet", "There is no survey under the served folders. Build one with “hipsgen build”, then reload this page.");
    return null;
  }
  const viewer = new Viewer(surveys);
  await viewer.open();
  wireTools(viewer);
  return viewer;
}

/** For tests and the console; `ready` resolves when the first survey is on the screen. */
window.viewer = {
  app: null,
  probe,
  ready: start().then((app) => {
    window.viewer.app = app;
    document.body.dataset.state = "ready";
  }),
  get current() { return this.app?.base.name ?? null; },
  get stacked() { return this.app ? Object.fromEntries(this.app.stacked) : {}; },
  get readout() { return this.app?.readout.last ?? null; },
  settings(name) { return { ...this.app.settings.get(name) }; },
};
window.viewer.ready.catch((error) => {
  document.body.dataset.state = "failed";
  notice("The page could not start", String(error?.message ?? error));
});
