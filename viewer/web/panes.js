// Two or four linked views, side by side or one over the other.

import { make } from "./elements.js";
import { Overlay } from "./overlay.js";
import { openSky } from "./sky.js";

/** The first view and the linked ones. */
export class Panes {
  /** first: the viewer's own Sky. */
  constructor(box, first, viewer) {
    this.box = box;
    this.viewer = viewer;
    this.panes = [{ sky: first, div: first.div }];
    // position of each view after the last synchronization
    this.places = new Map();
    this.follow(this.panes[0]);
    this.bar = make("div", { class: "swipe-bar", role: "slider", tabindex: 0, "aria-label": "Swipe", "aria-valuemin": 2, "aria-valuemax": 98, hidden: true });
    this.bar.addEventListener("pointerdown", (event) => this.drag(event));
    this.bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (step) this.viewer.comparison.setSwipe(this.viewer.comparison.swipe + step);
    });
    box.append(this.bar);
  }

  get all() {
    return this.panes.map((pane) => pane.sky);
  }

  /** Synchronize the other views with this one: position and pointer. */
  follow(pane) {
    const { sky, div } = pane;
    // a drag continues over the panels and the other views
    div.addEventListener("pointerdown", ({ target, pointerId }) => target.matches("canvas") && target.setPointerCapture(pointerId), { capture: true });
    sky.onMove(() => this.moved(sky));
    pane.overlay = new Overlay(sky, () => this.viewer.overlayItems(sky));
    div.addEventListener("pointermove", (event) => {
      const box = div.getBoundingClientRect();
      this.pointed = { sky, at: sky.position([event.clientX - box.left, event.clientY - box.top]) };
      if (this.panes.length > 1) this.redraw();
    });
    div.addEventListener("pointerleave", () => {
      this.pointed = null;
      if (this.panes.length > 1) this.redraw();
    });
  }

  /** If the user has moved a view, move the others to the same position. */
  moved(sky) {
    const place = this.places.get(sky);
    if (!this.aligning && place && differs(sky.view(), place)) this.align(sky);
  }

  /** Move all views to the position of one. */
  align(leader = this.panes[0].sky) {
    const view = leader.view();
    this.aligning = true;
    for (const sky of this.all) {
      if (sky !== leader && differs(sky.view(), view)) sky.center(view);
      this.places.set(sky, sky.view());
    }
    this.aligning = false;
  }

  redraw() {
    for (const pane of this.panes) pane.overlay?.renew();
  }

  /** Show one view for each survey, in addition to the first view. */
  async show(mode, surveys) {
    const wanted = mode === "2" || mode === "swipe" ? surveys.slice(0, 1) : mode === "4" ? surveys.slice(0, 3) : [];
    document.body.dataset.mode = mode;
    while (this.panes.length > wanted.length + 1) this.panes.pop().div.remove();
    for (const [i, survey] of wanted.entries()) {
      const pane = this.panes[i + 1];
      const settings = this.viewer.settings.get(survey.name);
      if (!pane) await this.add(survey, settings, i);
      else if (pane.survey !== survey || pane.url !== survey.url) {
        await pane.sky.setBase(survey, settings);
        Object.assign(pane, { survey, url: survey.url });
      } else pane.sky.apply(pane.sky.baseLayer(), settings, 1);
      this.panes[i + 1].choose.value = survey.name;
    }
    this.bar.hidden = mode !== "swipe";
    this.place();
    this.places.clear();
    this.align();
    this.viewer.showOverlays();
  }

  async add(survey, settings, i) {
    const div = make("div", { class: "pane", "data-pane": i + 1 });
    this.box.append(div);
    const { sky, layer } = await openSky(div, survey, settings, this.viewer.sky.view());
    const pane = { sky, div, survey, url: survey.url };
    pane.choose = make("select", { class: "choose", "aria-label": `Survey of view ${i + 2}`, onchange: () => this.viewer.comparison.setOther(i, pane.choose.value) });
    pane.choose.append(...this.viewer.drawn().map(({ name, title }) => make("option", { value: name }, title)));
    div.append(pane.choose);
    this.panes.push(pane);
    await sky.added(layer);
    await this.viewer.masks.cover(sky);
    this.follow(pane);
    this.viewer.listen(sky);
  }

  apply(survey) {
    for (const pane of this.panes.slice(1)) {
      if (pane.survey === survey) pane.sky.apply(pane.sky.baseLayer(), this.viewer.settings.get(survey.name), 1);
    }
  }

  /** Place the swipe bar. */
  place() {
    const { swipe } = this.viewer.comparison;
    const at = `${100 * swipe}%`;
    this.box.style.setProperty("--swipe", at);
    this.bar.setAttribute("aria-valuenow", Math.round(100 * swipe));
  }

  drag(event) {
    event.preventDefault();
    this.bar.setPointerCapture(event.pointerId);
    const move = ({ clientX }) => {
      const box = this.box.getBoundingClientRect();
      this.viewer.comparison.setSwipe((clientX - box.left) / box.width);
    };
    this.bar.addEventListener("pointermove", move);
    this.bar.addEventListener("pointerup", () => this.bar.removeEventListener("pointermove", move), { once: true });
  }
}

function differs(a, b) {
  return Math.abs(a.ra - b.ra) > 1e-9 || Math.abs(a.dec - b.dec) > 1e-9 || Math.abs(a.fov / b.fov - 1) > 1e-6;
}
