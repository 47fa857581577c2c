// Tracts and patches of the coadds of a survey: outlines, navigation, search by name.

import { api } from "./api.js";
import { formatDec, formatRa, parsePosition } from "./coords.js";

const RADIANS = Math.PI / 180;
const known = new Map();

/** Return the patches of a survey, sorted: [{tract, patch, skymap, name, polygon, ra, dec, size, label}]. */
export function patchesOf(survey) {
  if (!survey.provenance) return Promise.resolve([]);
  if (!known.has(survey.name)) known.set(survey.name, load(survey).catch(() => forgotten(survey)));
  return known.get(survey.name);
}

/** Return no patches after a failed request, which will be repeated the next time. */
function forgotten(survey) {
  known.delete(survey.name);
  return [];
}

async function load(survey) {
  const { patches } = await api(`api/patches?${new URLSearchParams({ survey: survey.name })}`);
  return patches.map(described).sort(inOrder);
}

function described(patch) {
  const vectors = patch.polygon.map(([ra, dec]) => vector(ra, dec));
  const sum = [0, 1, 2].map((k) => vectors.reduce((total, one) => total + one[k], 0));
  const length = Math.hypot(...sum);
  const middle = sum.map((part) => part / length);
  const radius = Math.max(...vectors.map((one) => apart(one, middle)));
  const [ra, dec] = [
    (Math.atan2(middle[1], middle[0]) / RADIANS + 360) % 360,
    Math.atan2(middle[2], Math.hypot(middle[0], middle[1])) / RADIANS,
  ];
  const label = patch.tract === null ? patch.name : [patch.tract, patch.patch].filter((one) => one != null).join(", ");
  return { ...patch, ra, dec, size: 2 * radius, label };
}

function vector(ra, dec) {
  const [a, d] = [ra * RADIANS, dec * RADIANS];
  return [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
}

function apart(a, b) {
  return (2 * Math.asin(Math.min(1, Math.hypot(...a.map((one, k) => one - b[k])) / 2))) / RADIANS;
}

/** Return the distance in degrees of two positions {ra, dec}. */
export function distance(a, b) {
  return apart(vector(a.ra, a.dec), vector(b.ra, b.dec));
}

function inOrder(a, b) {
  return (
    (a.tract ?? 0) - (b.tract ?? 0) ||
    String(a.patch).localeCompare(String(b.patch), "en", { numeric: true }) ||
    a.label.localeCompare(b.label)
  );
}

/** Return the view that a patch fills. */
export function viewOf(patch) {
  return { ra: patch.ra, dec: patch.dec, fov: 1.05 * patch.size };
}

/** Return the next (step 1) or previous (-1) patch from the one closest to a position; wraps around. */
export function beside(patches, place, step) {
  if (!patches.length) return null;
  const nearest = patches.reduce((best, one) => (distance(one, place) < distance(best, place) ? one : best));
  const isThere = distance(nearest, place) < nearest.size / 8;
  if (!isThere && step > 0) return nearest;
  const at = patches.indexOf(nearest);
  return patches[(at + step + patches.length) % patches.length];
}

/**
 * What is meant by a text: a place {ra, dec}, with a patch's view when it is one; a survey by its band.
 * "9813,42", "tract 9813 patch 42", "tract=9813, patch=42, band=r", "9813"; else RA and Dec. null for nothing.
 */
export function parsePlace(text, patches) {
  const words = text.trim();
  const id = dataId(words);
  if (id) {
    const found = patches.filter(
      (one) => String(one.tract) === id.tract && (id.patch === undefined || String(one.patch) === id.patch),
    );
    if (found.length) return { ...around(found), band: id.band, text: found.length === 1 ? found[0].label : `tract ${id.tract}` };
    if (id.named) return null;
  }
  const position = parsePosition(words);
  return position && { ...position, text: `${formatRa(position.ra)} ${formatDec(position.dec)}` };
}

function dataId(text) {
  const plain = /^(\d+)(?:\s*[,;/ ]\s*(\d+(?:,\d+)?))?$/.exec(text);
  if (plain) return { tract: plain[1], patch: plain[2], named: false };
  const words = [...text.matchAll(/(\w+)\s*[=: ]\s*['"]?([\w.,-]+?)['"]?(?=[\s,;}]|$)/g)];
  const id = Object.fromEntries(words.map(([, key, value]) => [key.toLowerCase(), value]));
  return id.tract ? { tract: id.tract, patch: id.patch, band: id.band, named: true } : null;
}

function around(patches) {
  if (patches.length === 1) return viewOf(patches[0]);
  const middle = patches[Math.floor(patches.length / 2)];
  const reach = Math.max(...patches.map((one) => distance(one, middle) + one.size / 2));
  return { ra: middle.ra, dec: middle.dec, fov: 2 * reach };
}
