// The viewer's page: finds the surveys, starts the viewer, wires buttons and keys.

import { api } from "./api.js";
import { button, keep, make, recall, save, shortName } from "./elements.js";
import { probe } from "./readout.js";
import { initialView, shownFormats } from "./sky.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const BOOKMARKS = "hipsgen-bookmarks";

function wireTools(viewer) {
  $("goto").addEventListener("submit", (event) => {
    event.preventDefault();
    go(viewer, $("goto-text").value);
  });
  $("goto-text").addEventListener("input", () => {
    $("goto-error").hidden = true;
    $("goto-text").removeAttribute("aria-invalid");
  });
  const act = (id, call) => $(id).addEventListener("click", call);
  act("zoom-in", () => viewer.sky.zoom(0.5));
  act("zoom-out", () => viewer.sky.zoom(2));
  act("home", () => viewer.visitPlace(initialView(viewer.base.live ? viewer.flaggable() : viewer.base)));
  act("previous", () => viewer.patch(-1));
  act("next", () => viewer.patch(1));
  act("bookmark", () => bookmark(viewer));
  act("picture", () => savePicture(viewer).catch((error) => viewer.tell("The image could not be saved", error.message)));
  act("link", () => copyLink(viewer));
  act("help-open", () => $("help").showModal());
  for (const name of ["grid", "patches", "coverage"]) act(name, () => viewer.toggle(name));
  act("flags-toggle", () => viewer.toggle("flags"));
  act("panel-toggle", () => togglePanel(viewer));
  for (const button of document.querySelectorAll("#modes button")) {
    button.addEventListener("click", () => viewer.comparison.choose(button.dataset.mode));
    // after a mouse click, the space key blinks instead of pressing the button again
    button.addEventListener("click", (event) => event.detail && button.blur());
  }
  $("lock").addEventListener("change", () => viewer.setLock($("lock").checked));
  for (const id of ["help", "keep"]) $(id).querySelector("button").addEventListener("click", () => $(id).close());
  $("keep").querySelector("form").addEventListener("submit", (event) => keepBookmark(viewer, event));
  addEventListener("keydown", (event) => pressed(viewer, event));
  listBookmarks();
}

async function go(viewer, text) {
  const input = $("goto-text");
  const marked = bookmarks().find((one) => one.name === text.trim());
  if (marked) {
    input.blur();
    history.pushState(null, "", `#${marked.hash}`);
    dispatchEvent(new PopStateEvent("popstate"));
    return;
  }
  const place = await viewer.goTo(text);
  const complaint = await viewer.complaintOf(text, place);
  $("goto-error").textContent = complaint;
  $("goto-error").hidden = !complaint;
  input.setAttribute("aria-invalid", String(place === null));
  // return the keyboard focus to the sky
  if (place) input.blur();
}

function togglePanel(viewer) {
  const on = $("panel-toggle").getAttribute("aria-pressed") !== "true";
  $("panel-toggle").setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("panel-closed", !on);
  viewer.redraw();
}

const KEYS = {
  " ": (viewer) => viewer.comparison.flip(),
  w: ({ comparison }) => comparison.choose(comparison.mode === "swipe" ? "single" : "swipe"),
  n: (viewer) => viewer.patch(1),
  p: (viewer) => viewer.patch(-1),
  f: (viewer) => {
    viewer.toggle("flags", true);
    viewer.flags.flagHere();
  },
  m: (viewer) => viewer.masks.toggle(),
  g: (viewer) => viewer.toggle("grid"),
  t: (viewer) => viewer.toggle("patches"),
  c: (viewer) => viewer.toggle("coverage"),
  "[": (viewer) => scaleCut(viewer, 0.8),
  "]": (viewer) => scaleCut(viewer, 1.25),
  "+": (viewer) => viewer.sky.zoom(0.5),
  "=": (viewer) => viewer.sky.zoom(0.5),
  "-": (viewer) => viewer.sky.zoom(2),
  h: () => $("home").click(),
  b: (viewer) => bookmark(viewer),
  l: togglePanel,
  "/": () => $("goto-text").focus(),
  "?": () => $("help").showModal(),
  Escape: (viewer) => closeAll(viewer),
};

/** Handle a key (see KEYS; 1 to 9 choose the base survey), unless the user is typing text. */
function pressed(viewer, event) {
  const { target, key } = event;
  if (target.closest("input:not([type=checkbox], [type=range]), select, textarea, dialog")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || (key === " " && target.closest("button, summary, a"))) return;
  const survey = /^[1-9]$/.test(key) && viewer.images()[Number(key) - 1];
  const act = survey ? () => viewer.select(survey.name) : KEYS[key];
  if (!act) return;
  event.preventDefault();
  act(viewer);
}

function scaleCut(viewer, factor) {
  const { low, high } = viewer.settings.get(viewer.base.name);
  viewer.change(viewer.base.name, { high: low + (high - low) * factor });
}

function closeAll(viewer) {
  viewer.measuring.choose(null);
  viewer.catalogs.forget();
  viewer.forgetHere();
  viewer.measuring.clear();
  $("notice").hidden = true;
}

function bookmarks() {
  return recall(BOOKMARKS) ?? [];
}

function bookmark(viewer) {
  const [dialog, input] = [$("keep"), $("keep").querySelector("input")];
  const { ra, dec } = viewer.sky.view();
  input.value = $("goto-text").value || `${shortName(viewer.base)} ${ra.toFixed(3)} ${dec.toFixed(3)}`;
  dialog.showModal();
  input.select();
}

function keepBookmark(viewer, event) {
  event.preventDefault();
  const name = $("keep").querySelector("input").value.trim();
  if (!name) return;
  forgetBookmark(name);
  keep(BOOKMARKS, [...bookmarks(), { name, hash: viewer.hash() }]);
  listBookmarks();
  $("keep").close();
  // until the next frame, browsers leave the focus in the closed dialog
  document.activeElement.blur();
}

function forgetBookmark(name) {
  keep(BOOKMARKS, bookmarks().filter((one) => one.name !== name));
  listBookmarks();
}

function listBookmarks() {
  $("bookmarks").replaceChildren(...bookmarks().map(({ name }) => make("option", { value: name })));
  $("keep").querySelector("ul").replaceChildren(...bookmarks().map(({ name, hash }) =>
    make("li", {}, make("a", { href: `#${hash}`, onclick: () => $("keep").close() }, name),
      button("×", () => forgetBookmark(name), { "aria-label": `Forget ${name}`, title: "Forget" }))));
}

async function copyLink(viewer) {
  const text = viewer.link();
  try {
    await navigator.clipboard.writeText(text);
    $("link").classList.add("done");
    setTimeout(() => $("link").classList.remove("done"), 1200);
  } catch {
    viewer.tell("Link to this view", text);
  }
}

/** Save the sky and its overlays as displayed. */
async function savePicture(viewer) {
  const box = $("panes").getBoundingClientRect();
  const canvas = make("canvas", { width: Math.round(box.width * devicePixelRatio), height: Math.round(box.height * devicePixelRatio) });
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  for (const { sky, div, overlay } of viewer.panes.panes) {
    const { left, top, width, height } = div.getBoundingClientRect();
    context.save();
    if (div.dataset.pane && viewer.comparison.mode === "swipe") {
      context.beginPath();
      context.rect(box.width * viewer.comparison.swipe, 0, box.width, box.height);
      context.clip();
    }
    context.drawImage(await sky.picture(), left - box.left, top - box.top, width, height);
    context.drawImage(overlay.canvas, left - box.left, top - box.top, width, height);
    context.restore();
  }
  const { ra, dec } = viewer.sky.view();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  save(`${viewer.base.name}_${ra.toFixed(4)}_${dec.toFixed(4)}.png`, blob);
}

function notice(title, text) {
  $("notice").querySelector("h2").textContent = title;
  $("notice").querySelector("p").textContent = text;
  $("notice").hidden = false;
}

async function fetchSurveys() {
  const surveys = await api("api/surveys");
  return surveys
    .map((survey) => ({ ...survey, url: new URL(survey.url, document.baseURI).href }))
    .filter((survey) => shownFormats(survey).length);
}

/** Return the server's initial view (the part of the address after #). */
async function firstView() {
  return api("api/view").then(({ view }) => view, () => "");
}

// milliseconds until the page is shown even if something is still loading
const LATE = 3000;

async function start() {
  setTimeout(() => ["starting", "opening"].includes(document.body.dataset.state) && (document.body.dataset.state = "late"), LATE);
  $("notice").querySelector("button").addEventListener("click", () => ($("notice").hidden = true));
  const [surveys, first] = await Promise.all([fetchSurveys(), firstView()]);
  if (!surveys.length) {
    document.body.classList.add("empty");
    notice("No surveys yet", "There is no survey under the served folders. Build one with “hipsgen build”, then reload this page.");
    return null;
  }
  const viewer = new Viewer(surveys);
  await viewer.open(location.hash || first);
  wireTools(viewer);
  const frame = new URLSearchParams(location.search).get("frame");
  if (frame) (await import("./frame.js")).followKernel(viewer, frame);
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
  get state() { return this.app?.state() ?? null; },
  settings(name) { return { ...this.app.settings.get(name) }; },
};
window.viewer.ready.catch((error) => {
  document.body.dataset.state = "failed";
  notice("The page could not start", String(error?.message ?? error));
});
