// Aladin Lite, kept at home: it gets local surveys only, and nothing that would ask the outside.

import "./pace.js";
import A from "./aladin/aladin.js";
import { watch } from "./gate.js";

const QUIET = {
  log: false,
  hipsList: [],
  samp: false,
  showShareControl: false,
  showSimbadPointerControl: false,
  showLayersControl: false,
  showFullscreenControl: false,
  showSettingsControl: false,
  showCooGridControl: false,
  showProjectionControl: false,
  showZoomControl: false,
  showContextMenu: false,
  showStatusBar: false,
  showCooLocation: false,
  showFrame: false,
  showFov: false,
  showReticle: false,
};

// milliseconds
const PATIENCE = 30_000;

export const STRETCHES = ["linear", "asinh", "log", "sqrt", "pow2"];
export const COLORMAPS = [
  "grayscale", "viridis", "magma", "inferno", "plasma", "cubehelix", "parula",
  "redtemperature", "rainbow", "rdbu", "spectral", "blues",
];

/** How a survey is shown at first: its FITS tiles when it has some, between its own cuts. */
export function defaultSettings(survey) {
  const format = shownFormats(survey)[0];
  const [low, high] = survey.cuts ?? survey.data_range ?? [0, 1];
  // over so wide a range Aladin Lite's asinh leaves all that is faint in the dark
  const stretch = low < 0 && high > -50 * low ? "log" : "asinh";
  return { format, stretch, low, high, colormap: "grayscale", reversed: false };
}

/** Of a look what the survey and Aladin Lite have: an address may tell of anything. */
export function possible(survey, look = {}) {
  const known = { format: shownFormats(survey), stretch: STRETCHES, colormap: COLORMAPS };
  return Object.fromEntries(Object.entries(look).filter(([key, value]) => known[key]?.includes(value) ?? true));
}

/** The formats to choose from, the best first: FITS, and the best of the pictures. */
export function shownFormats(survey) {
  const picture = ["png", "webp", "jpeg"].find((format) => survey.formats.includes(format));
  // Aladin Lite dies of FITS tiles whose bitpix it is not told
  const fits = survey.formats.includes("fits") && (survey.bitpix || !picture);
  return [fits && "fits", picture].filter(Boolean);
}

/** The first view: what the survey asks for, else all of the sky. */
export function initialView(survey) {
  const { ra, dec, fov } = survey.initial;
  return { ra: ra ?? 0, dec: dec ?? 0, fov: Math.min(180, Math.max(0.001, fov || 180)) };
}

/** Start Aladin Lite in `div` on a survey, whose layer is still to be `added`. */
export async function openSky(div, survey, settings, { ra, dec, fov }) {
  // the MOC comes while Aladin Lite gets ready
  watch(survey);
  await A.init;
  // a drop would be sent to a converter elsewhere
  for (const kind of ["drop", "dragover"]) div.addEventListener(kind, stop, true);
  const layer = makeLayer(survey, settings, 1);
  const aladin = A.aladin(div, {
    ...QUIET,
    // two numbers without exponents: a name would go to a resolver
    target: `${(((ra % 360) + 360) % 360).toFixed(9)} ${dec.toFixed(9)}`,
    fov,
    projection: "SIN",
    cooFrame: "ICRSd",
    backgroundColor: "rgb(7, 9, 14)",
    gridColor: "rgb(120, 170, 220)",
    gridOpacity: 0.6,
    survey: layer,
  });
  // an empty view would look for a survey elsewhere, without end, should this one not load
  aladin.view.empty = false;
  aladin.constructor.DEFAULT_OPTIONS.survey = survey.url;
  return { sky: new Sky(div, aladin), layer };
}

function stop(event) {
  event.preventDefault();
  event.stopPropagation();
}

let made = 0;

function makeLayer(survey, settings, opacity) {
  watch(survey);
  // Aladin Lite remembers options by id and would bring old ones back
  const id = `${survey.name}-${++made}`;
  const bitpix = survey.bitpix ?? -32;
  const options = { url: survey.url, name: survey.title, bitpix, ...layerOptions(settings), opacity };
  return A.HiPS(id, options);
}

function layerOptions({ format, stretch, low, high, colormap, reversed }) {
  if (format !== "fits") return { imgFormat: format, colormap: "native", stretch: "linear", reversed: false };
  return { imgFormat: format, stretch, minCut: low, maxCut: high, colormap, reversed };
}

export class Sky {
  constructor(div, aladin) {
    this.div = div;
    this.aladin = aladin;
    this.listeners = [];
    for (const event of ["positionChanged", "zoomChanged", "resizeChanged"]) {
      aladin.on(event, () => this.listeners.forEach((listener) => listener()));
    }
  }

  /** Call `listener` whenever the view moves, zooms or is resized. */
  onMove(listener) {
    this.listeners.push(listener);
  }

  /** Call `listener` with {ra, dec} at a click that was not a drag. */
  onClick(listener) {
    this.aladin.on("click", (event) => event.isDragging || listener(event));
  }

  /** Call `listener` with a layer and its cuts when Aladin Lite changes a layer. */
  onCuts(listener) {
    this.aladin.addListener("AL:Layer.changed", ({ detail: { layer } }) => {
      const [low, high] = layer.getCuts();
      if (layer.imgFormat === "fits" && low < high) listener(layer, low, high);
    });
  }

  /** Resolves when Aladin Lite has read the layer's properties and taken it in. */
  async added(layer) {
    await layer.query;
    const end = performance.now() + PATIENCE;
    while (!layer.added) {
      if (performance.now() > end) throw new Error(`${layer.name} could not be loaded`);
      await new Promise((done) => setTimeout(done, 15));
    }
  }

  async setBase(survey, settings) {
    const layer = makeLayer(survey, settings, 1);
    this.aladin.setBaseImageLayer(layer);
    await this.added(layer);
  }

  /** kind: what for; a survey may lie over the others once for each. */
  async stack(survey, settings, opacity, kind = "over") {
    const layer = makeLayer(survey, settings, opacity);
    this.aladin.setOverlayImageLayer(layer, overlayName(survey, kind));
    await this.added(layer);
    // Aladin Lite takes an opacity of 0 for none given
    layer.setOpacity(opacity);
  }

  unstack(survey, kind = "over") {
    this.aladin.removeImageLayer(overlayName(survey, kind));
  }

  /** wanted: [survey, kind] of what lies over the base, from the bottom to the top. */
  arrange(wanted) {
    const { view } = this.aladin;
    const names = wanted.map(([survey, kind]) => overlayName(survey, kind)).filter((name) => view.imageLayers.has(name));
    for (const [i, name] of names.entries()) {
      const there = view.overlayLayers[i + 1];
      if (there !== name) view.swapLayers(there, name);
    }
  }

  baseLayer() {
    return this.aladin.getBaseImageLayer();
  }

  overlay(survey, kind = "over") {
    return this.aladin.getOverlayImageLayer(overlayName(survey, kind));
  }

  apply(layer, settings, opacity) {
    layer.setOptions({ ...layerOptions(settings), opacity });
  }

  /** The order of the tiles on the screen. */
  order(survey) {
    // what Aladin Lite wants goes by the view alone, whatever the width of the survey's tiles
    const wanted = this.aladin.view.wasm.getNOrder();
    return Math.min(survey.order, Math.max(survey.order_min, wanted));
  }

  /** ICRS [ra, dec] under a pixel, or at the center; null off the sky. */
  position(pixel) {
    if (!pixel) return this.aladin.getRaDec();
    try {
      const found = this.aladin.pix2world(pixel[0], pixel[1], "icrs");
      return found.every(Number.isFinite) ? found : null;
    } catch {
      return null;
    }
  }

  /** The pixel at an ICRS position; null where it is behind us. */
  pixel(ra, dec) {
    const found = this.aladin.world2pix(ra, dec, "ICRS");
    return found && found.every(Number.isFinite) ? found : null;
  }

  fov() {
    return this.aladin.getFov()[0];
  }

  /** Where the view looks, in one object; two of the same look alike. */
  view() {
    const [ra, dec] = this.position(null);
    return { ra, dec, fov: this.fov() };
  }

  center({ ra, dec, fov }) {
    this.aladin.gotoRaDec(ra, dec);
    if (fov) this.aladin.setFoV(fov);
  }

  zoom(factor) {
    this.aladin.setFoV(Math.min(180, this.fov() * factor));
  }

  showGrid(enabled) {
    this.aladin.setCooGrid({ enabled });
  }

  /** The outline of a survey's coverage; null for none. */
  showCoverage(survey) {
    if (this.coverage) this.aladin.removeOverlay(this.coverage);
    this.coverage = survey && A.MOCFromURL(`${survey.url}/Moc.fits`, {
      name: `coverage ${survey.name}`, color: "#66d9c2", lineWidth: 2, fill: false, perimeter: true,
    });
    if (this.coverage) this.aladin.addMOC(this.coverage);
  }

  /** What is drawn, as an image. */
  async picture() {
    const image = new Image();
    image.src = await this.aladin.getViewDataURL({ format: "image/png", logo: true });
    await image.decode();
    return image;
  }

  resize() {
    this.aladin.view.fixLayoutDimensions?.();
  }
}

function overlayName(survey, kind) {
  return `${kind}-${survey.name}`;
}
