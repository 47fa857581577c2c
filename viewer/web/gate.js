// Blocks requests for tiles that a survey does not have.
//
// Aladin Lite requests tiles as soon as it has the properties, and respects Moc.fits only after it has
// arrived. Each missing tile would be a 404, which the browser logs to the console as an error. Aladin
// Lite cannot be given a MOC before it starts, but it requests all its tiles, including images, through
// window.fetch. So a request waits here for the MOC, and missing tiles get a 404 from this module: the
// result does not depend on which response arrives first.
//
// Aladin Lite also requests Norder3/Allsky, FITS by fetch, images by <img>. Not every survey has one,
// and a FITS Allsky has 13 MB. If there is none, Aladin Lite uses the tiles of order 0 instead, which
// have the same resolution, and few of the twelve are in the MOC.

import { coverageOf } from "./moc.js";

const PLACE = /^(.*)\/Norder(\d+)\/(?:Allsky|Dir\d+\/Npix(\d+))\.\w+$/;

/** URL prefix of surveys made by the page; requests below it never reach the server. */
const LIVE = new URL("hips/~live/", document.baseURI).href;

// milliseconds to wait for the first tiles, and for the first request of a tile
const TIMEOUT = 1500;
const REQUEST_TIMEOUT = 250;

const surveys = new Map();
const live = new Map();
const ask = window.fetch.bind(window);
const tiles = { begun: 0, asked: 0, came: 0 };
const waiting = { count: 0, tell: () => {} };
let open;
const opened = new Promise((done) => (open = done));

/** Block requests for tiles that this survey does not have, from now on; fetch its MOC. */
export function watch(survey) {
  surveys.set(survey.url, survey);
  coverageOf(survey.url);
}

/**
 * Serve a survey that the page makes of others; return its URL.
 * answer(path): a promise of the Response to a path below it, or of null.
 */
export function answerFor(name, answer) {
  const url = LIVE + name;
  live.set(url, answer);
  return url;
}

/** Stop serving a survey; later requests get a 404. */
export function forget(url) {
  live.delete(url);
}

window.fetch = async function fetch(resource, options) {
  const address = new URL(resource instanceof Request ? resource.url : resource, document.baseURI).href;
  if (address.startsWith(LIVE)) {
    const end = address.indexOf("/", LIVE.length);
    return (await counted(live.get(address.slice(0, end))?.(address.slice(end + 1)))) ?? missing();
  }
  const place = placeOf(address);
  if (!place) return ask(resource, options);
  tiles.begun ||= performance.now();
  if (!(await hasTile(place))) return missing();
  // tiles of order 0, which replace an Allsky, must not delay the displayed tiles
  if (place.order === 0 && place.survey.order > 0) await opened;
  tiles.asked++;
  try {
    return await counted(ask(resource, options));
  } finally {
    tiles.came++;
  }
};

async function counted(tile) {
  waiting.tell(++waiting.count);
  try {
    return await tile;
  } finally {
    waiting.tell(--waiting.count);
  }
}

/** Call `listener` with the number of tiles being loaded, whenever it changes. */
export function onLoading(listener) {
  waiting.tell = listener;
}

/**
 * Resolves when the first tiles are drawn, or after a timeout. Everything that can wait should wait for
 * it: a browser that renders without a GPU has no time for anything else.
 */
export async function firstPicture() {
  const end = performance.now() + TIMEOUT;
  const until = async (isSo) => {
    while (!isSo() && performance.now() < end) await pause(20);
  };
  const areThere = () => tiles.asked > 0 && tiles.came === tiles.asked;
  await until(() => areThere() || (!tiles.asked && tiles.begun && performance.now() > tiles.begun + REQUEST_TIMEOUT));
  open();
  if (tiles.asked) await until(areThere);
  // there are no frames while the page is hidden
  await Promise.race([frame().then(frame), pause(500)]);
}

function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

function frame() {
  return new Promise((done) => requestAnimationFrame(done));
}

function missing() {
  return new Response(null, { status: 404, statusText: "Not Found" });
}

window.Image = class extends window.Image {
  get src() {
    return super.src;
  }

  set src(url) {
    // not an image: fires "error", like a 404
    super.src = placeOf(url)?.npix === null ? "data:," : url;
  }
};

/** Return the survey, order and npix (null for an Allsky) of a tile's URL; null for any other URL. */
function placeOf(address) {
  const found = PLACE.exec(new URL(address, document.baseURI).href);
  const survey = found && surveys.get(found[1]);
  return survey ? { survey, order: Number(found[2]), npix: found[3] ? BigInt(found[3]) : null } : null;
}

async function hasTile({ survey, order, npix }) {
  if (npix === null || order < survey.order_min || order > survey.order) return false;
  const coverage = await coverageOf(survey.url);
  // without a MOC the server decides
  return coverage?.meets(order, npix) ?? true;
}
