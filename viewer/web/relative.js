// Surveys of float64 values near a large number, as Aladin Lite can show them.
//
// Aladin Lite's textures have float32, which does not resolve such values. It is given an address at
// which the page answers with tiles of the values minus the survey's offset; its cuts are shifted, too.

import { FitsTile, fitsAnswer } from "./fits.js";
import { answerFor } from "./gate.js";

/** @type {Map<string, string>} */
const addresses = new Map();

/** Return the address of a survey for Aladin Lite. */
export function shownAddress(survey) {
  if (!survey.offset) return survey.url;
  if (!addresses.has(survey.url)) {
    addresses.set(survey.url, answerFor(`relative-${survey.name}`, (path) => answer(survey, path)));
  }
  return addresses.get(survey.url);
}

/** Return the BITPIX of the tiles at that address. */
export function shownBitpix(survey) {
  return survey.offset ? -32 : (survey.bitpix ?? -32);
}

async function answer(survey, path) {
  // Aladin Lite replaces a missing Allsky by tiles
  if (/Allsky\.fits$/.test(path)) return null;
  const found = await fetch(`${survey.url}/${path}`);
  if (!found.ok) return found;
  if (path === "properties") {
    return new Response((await found.text()).replace(/^(hips_pixel_bitpix\s*=\s*)-64/m, "$1-32"));
  }
  if (!path.endsWith(".fits") || path === "Moc.fits") return found;
  const tile = new FitsTile(await found.arrayBuffer());
  return fitsAnswer(tile.width, tile.floats().map((value) => value - survey.offset));
}
