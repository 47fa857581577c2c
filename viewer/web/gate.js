// Keeps requests for what a survey does not have from going out.
//
// Aladin Lite asks for tiles as soon as it knows the properties and heeds Moc.fits only once that has
// come. Each tile that is not there would be a 404, which the browser writes to the console as an
// error. Aladin Lite cannot be given a MOC before it starts; but all its tiles, pictures too, come
// through window.fetch. So a tile waits here for the MOC, and the "404" is ours: the outcome is the
// same whichever answer comes first.
//
// Aladin Lite also asks for Norder3/Allsky, FITS by fetch, pictures by <img>. Not every survey has
// one, and a FITS one is 13 MB. Told that there is none, Aladin Lite takes the tiles of order 0
// instead: these are as fine, and the MOC leaves few of the twelve.

import { coverageOf } from "./moc.js";

const PLACE = /^(.*)\/Norder(\d+)\/(?:Allsky|Dir\d+\/Npix(\d+))\.\w+$/;

/** Beneath it are the surveys that are made here; nobody is asked for them, not even for old ones. */
const LIVE = new URL("hips/~live/", document.baseURI).href;

// milliseconds: no picture is waited for any longer; no tile, where none is asked for at first
const PATIENCE = 1500;
const NONE = 250;

const surveys = new Map();
const live = new Map();
const ask = window.fetch.bind(window);
const tiles = { begun: 0, asked: 0, came: 0 };
const waiting = { count: 0, tell: () => {} };
let open;
const opened = new Promise((done) => (open = done));

/** From now on nobody is asked for tiles that this survey does not have; its MOC is fetched. */
export function watch(survey) {
  surveys.set(survey.url, survey);
  coverageOf(survey.url);
}

/**
 * From now on a survey that is made here, of others, answers under the address that is returned.
 * answer(path): a promise of a Response to a path within it, or of null.
 */
export function answerFor(name, answer) {
  const url = LIVE + name;
  live.set(url, answer);
  return url;
}

/** The survey is not wanted any more; what a layer of it still asks for is missing. */
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
  // what stands for an Allsky is as large as the tiles that are wanted
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

/** Call `listener` with the number of tiles that are on their way, whenever that changes. */
export function onLoading(listener) {
  waiting.tell = listener;
}

/**
 * Resolves when the first tiles are drawn, or could be. Whatever may come later should: a browser
 * that draws without a graphics processor has no time for anything else.
 */
export async function firstPicture() {
  const end = performance.now() + PATIENCE;
  const until = async (isSo) => {
    while (!isSo() && performance.now() < end) await pause(20);
  };
  const areThere = () => tiles.asked > 0 && tiles.came === tiles.asked;
  await until(() => areThere() || (!tiles.asked && tiles.begun && performance.now() > tiles.begun + NONE));
  open();
  if (tiles.asked) await until(areThere);
  // there are no frames while the page is not looked at
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
    // no picture: "error" is fired, as by a 404
    super.src = placeOf(url)?.npix === null ? "data:," : url;
  }
};

/** The survey, order and number (null for an Allsky) that an address is of; null for others. */
function placeOf(address) {
  const found = PLACE.exec(new URL(address, document.baseURI).href);
  const survey = found && surveys.get(found[1]);
  return survey ? { survey, order: Number(found[2]), npix: found[3] ? BigInt(found[3]) : null } : null;
}

async function hasTile({ survey, order, npix }) {
  if (npix === null || order < survey.order_min || order > survey.order) return false;
  const coverage = await coverageOf(survey.url);
  // without a MOC the server has to say
  return coverage?.meets(order, npix) ?? true;
}
