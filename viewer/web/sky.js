// Aladin Lite, restricted to surveys of this server and without features that use other sites.

import "./pace.js";
import A from "./aladin/aladin.js";
import { watch } from "./gate.js";
import { shownAddress, shownBitpix } from "./relative.js";

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

// milliseconds to wait for a layer
const TIMEOUT = 30_000;

export const STRETCHES = ["linear", "asinh", "log", "sqrt", "pow2"];
export const COLORMAPS = [
  "grayscale", "viridis", "magma", "inferno", "plasma", "cubehelix", "parula",
  "redtemperature", "rainbow", "rdbu", "spectral", "blues",
];

/** Return the initial settings of a survey: FITS tiles if it has any, and the cuts of its properties. */
export function defaultSettings(survey) {
  const format = shownFormats(survey)[0];
  const [low, high] = survey.cuts ?? survey.data_range ?? [0, 1];
  // over such a wide range Aladin Lite's asinh hides faint sources
  const stretch = low < 0 && high > -50 * low ? "log" : "asinh";
  return { format, stretch, low, high, colormap: "grayscale", reversed: false };
}

/** Return the valid settings of a look, which may come from an edited address. */
export function possible(survey, look = {}) {
  const known = { format: shownFormats(survey), stretch: STRETCHES, colormap: COLORMAPS };
  return Object.fromEntries(Object.entries(look).filter(([key, value]) => known[key]?.includes(value) ?? true));
}

/** Return the available formats: FITS, and the best image format. */
export function shownFormats(survey) {
  const picture = ["png", "webp", "jpeg"].find((format) => survey.formats.includes(format));
  // Aladin Lite crashes on FITS tiles without hips_pixel_bitpix
  const fits = survey.formats.includes("fits") && (survey.bitpix || !picture);
  return [fits && "fits", picture].filter(Boolean);
}

// frames that Aladin Lite knows; it takes all others for equatorial
const DRAWN_FRAMES = ["equatorial", "galactic"];

/** Whether Aladin Lite can draw a survey. */
export function isDrawn(survey) {
  return DRAWN_FRAMES.includes(survey.frame);
}

/** Throw an Error if Aladin Lite cannot draw a survey. */
export function refuseUndrawn(survey) {
  if (!isDrawn(survey)) throw new Error(`${survey.title} is not drawn: its hips_frame, ${survey.frame}, is neither equatorial nor galactic.`);
}

/** Return the initial view: that of the survey's properties, or the whole sky. */
export function initialView(survey) {
  const { ra, dec, fov } = survey.initial;
  return { ra: ra ?? 0, dec: dec ?? 0, fov: Math.min(180, Math.max(0.001, fov || 180)) };
}

/** Start Aladin Lite in `div` with a survey; `added` must be called for its layer. */
export async function openSky(div, survey, settings, { ra, dec, fov }) {
  refuseUndrawn(survey);
  // fetch the MOC while Aladin Lite starts
  watch(survey);
  await A.init;
  // Aladin Lite would send dropped files to a converter on another site
  for (const kind of ["drop", "dragover"]) div.addEventListener(kind, stop, true);
  const layer = makeLayer(survey, settings, 1);
  const aladin = A.aladin(div, {
    ...QUIET,
    // two numbers without exponents; anything else would be sent to a name resolver
    target: `${(((ra % 360) + 360) % 360).toFixed(9)} ${dec.toFixed(9)}`,
    fov,
    projection: "SIN",
    cooFrame: "ICRSd",
    backgroundColor: "rgb(7, 9, 14)",
    gridColor: "rgb(120, 170, 220)",
    gridOpacity: 0.6,
    survey: layer,
  });
  // if this survey could not be loaded, an empty view would try surveys of other sites in a loop
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
  refuseUndrawn(survey);
  watch(survey);
  // Aladin Lite stores options by id and would restore old ones
  const id = `${survey.name}-${++made}`;
  const place = { url: shownAddress(survey), bitpix: shownBitpix(survey) };
  const options = { ...place, name: survey.title, ...layerOptions(settings, survey.offset), opacity };
  return Object.assign(A.HiPS(id, options), { survey });
}

/** Return the options of a layer; offset: what its values are relative to. */
function layerOptions({ format, stretch, low, high, colormap, reversed }, offset = 0) {
  if (format !== "fits") return { imgFormat: format, colormap: "native", stretch: "linear", reversed: false };
  return { imgFormat: format, stretch, minCut: low - offset, maxCut: high - offset, colormap, reversed };
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
      const offset = layer.survey?.offset ?? 0;
      const [low, high] = layer.getCuts().map((cut) => cut + offset);
      if (layer.imgFormat === "fits" && low < high) listener(layer, low, high);
    });
  }

  /** Resolves when Aladin Lite has read the layer's properties and added it. */
  async added(layer) {
    await layer.query;
    const end = performance.now() + TIMEOUT;
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

  /** Add a survey as an overlay. kind: its purpose; a survey can be overlaid once for each kind. */
  async stack(survey, settings, opacity, kind = "over") {
    const layer = makeLayer(survey, settings, opacity);
    this.aladin.setOverlayImageLayer(layer, overlayName(survey, kind));
    await this.added(layer);
    // Aladin Lite treats an opacity of 0 as missing
    layer.setOpacity(opacity);
  }

  unstack(survey, kind = "over") {
    this.aladin.removeImageLayer(overlayName(survey, kind));
  }

  /** Set the order of the overlays. wanted: [survey, kind] of each, from bottom to top. */
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
    layer.setOptions({ ...layerOptions(settings, layer.survey?.offset), opacity });
  }

  /** Return the order of the displayed tiles of a survey. */
  order(survey) {
    // Aladin Lite chooses it from the view alone, not from the tile width of the survey
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

  /** Return the screen pixel of an ICRS position; null on the far side of the sky. */
  pixel(ra, dec) {
    const found = this.aladin.world2pix(ra, dec, "ICRS");
    return found && found.every(Number.isFinite) ? found : null;
  }

  fov() {
    return this.aladin.getFov()[0];
  }

  /** Return center and width of the view; equal views give equal objects. */
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

  /** Show the outline of an equatorial survey's coverage; null hides it. */
  showCoverage(survey) {
    if (this.coverage) this.aladin.removeOverlay(this.coverage);
    this.coverage = survey && A.MOCFromURL(`${survey.url}/Moc.fits`, {
      name: `coverage ${survey.name}`, color: "#66d9c2", lineWidth: 2, fill: false, perimeter: true,
    });
    if (this.coverage) this.aladin.addMOC(this.coverage);
  }

  /** Return the rendered view as an image. */
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
