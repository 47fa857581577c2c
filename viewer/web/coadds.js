// The panel of a click: the coadds at the position, their pixels, links and cutouts.

import { apiLines } from "./api.js";
import { digitsOf, formatDec, formatRa, formatValue, toGalactic } from "./coords.js";
import { copyButton, make } from "./elements.js";

const FIRST = ["tract", "patch", "band"];
export const CUTOUT = 20; // arcsec

let asked = new AbortController(); // of the last click

/**
 * Show the coadds of surveys at an ICRS position in `card`; return them, or the problem.
 * Surveys without provenance are skipped.
 */
export async function coaddCard(card, title, surveys, ra, dec, linkHere) {
  asked.abort(); // coadds that hang would occupy connections
  const turn = (asked = new AbortController());
  const telling = surveys.filter((one) => one.provenance);
  if (!telling.length) {
    card.hidden = true;
    return null;
  }
  const list = card.querySelector("ul");
  card.querySelector("[data-part=survey]").textContent = title;
  card.querySelector("[data-part=position]").replaceChildren(...positionLines(ra, dec));
  card.querySelector("[data-part=actions]").replaceChildren(
    copyButton("Copy RA Dec", `${ra.toFixed(7)} ${dec.toFixed(7)}`),
    copyButton("Copy link", linkHere()),
  );
  list.replaceChildren(make("li", { class: "dim" }, "reading the coadds …"));
  card.dataset.state = "asked";
  card.hidden = false;
  card.querySelector("[data-part=close]").onclick = () => (card.hidden = true);
  const answers = telling.map((survey) => ({ coadds: [], items: [], problem: "", digits: digitsOf(survey) }));
  const show = () => {
    const items = shown(answers);
    if (turn === asked && items.length) list.replaceChildren(...items);
  };
  await Promise.all(telling.map(({ name }, i) => ask(answers[i], new URLSearchParams({ survey: name, ra, dec }), turn.signal, show)));
  if (turn !== asked) return null;
  if (!shown(answers).length) list.replaceChildren(make("li", {}, "No coadd contributed pixels here."));
  card.dataset.state = "told";
  const problem = answers.map((one) => one.problem).filter(Boolean).join("; ");
  return { survey: telling[0].name, coadds: answers.flatMap(({ coadds }) => coadds), problem };
}

function shown(answers) {
  return answers.flatMap(({ items, problem }) => (problem && !items.length ? [make("li", {}, problem)] : items));
}

/** Fill an answer with coadds and their items as they arrive, or with the problem; call `show` at each change. */
async function ask(answer, query, signal, show) {
  try {
    for await (const line of apiLines(`api/pixel?${query}&stream=1`, { signal })) {
      if (line.error && line.number === undefined) throw new Error(line.error);
      if (line.coadds) {
        answer.coadds = line.coadds;
        answer.items = line.coadds.map((coadd) => coaddItem(coadd, query, answer.digits));
        show();
      } else {
        const { number, pixel, error } = line;
        complete(answer, number, pixel ? { pixel } : { error }, query);
      }
    }
  } catch (error) {
    answer.problem = error.message;
    answer.coadds.forEach(({ pixel, error: known }, number) => {
      if (!pixel && !known) complete(answer, number, { error: error.message }, query);
    });
    show();
  }
}

/** Add the pixel or the error of a coadd, and show it. */
function complete(answer, number, found, query) {
  Object.assign(answer.coadds[number], found);
  const item = coaddItem(answer.coadds[number], query, answer.digits);
  answer.items[number].replaceWith(item);
  answer.items[number] = item;
}

function positionLines(ra, dec) {
  const [l, b] = toGalactic(ra, dec);
  const minus = (text) => text.replace("-", "−");
  return [
    make("span", { "data-name": "ICRS" }, `${formatRa(ra)} ${formatDec(dec)}`),
    make("span", { "data-name": "deg" }, `${ra.toFixed(6)} ${minus(dec.toFixed(6))}`),
    make("span", { "data-name": "gal" }, `${l.toFixed(5)} ${minus(b.toFixed(5))}`),
  ];
}

function coaddItem(coadd, query, digits) {
  const id = Object.keys(coadd.data_id).sort((a, b) => place(a) - place(b));
  const head = id.length ? id.map((key) => `${key} ${coadd.data_id[key]}`).join(" · ") : coadd.uri.split("/").pop();
  const item = make("li", { "data-coadd": coadd.coadd }, make("strong", {}, head));
  if (coadd.pixel) item.append(...pixelLines(coadd, digits));
  else if (coadd.error) item.append(make("span", { class: "problem" }, coadd.error));
  else item.append(make("span", { class: "dim" }, "reading its pixel …"));
  for (const [name, value] of [
    ["run", coadd.run], ["type", coadd.dataset_type], ["uuid", coadd.uuid], ["file", coadd.uri],
  ]) {
    if (value) item.append(make("span", { "data-name": name }, value));
  }
  item.append(actions(coadd, query, id.length > 0));
  return item;
}

function pixelLines({ pixel, data_id: id }, digits) {
  const lines = [];
  const value = pixel.value === null ? "no data" : `${formatValue(pixel.value, digits)} ${pixel.unit}`;
  lines.push(make("span", { "data-name": "value", class: "strong" }, value));
  if (pixel.variance !== null) {
    const sigma = `± ${formatValue(Math.sqrt(pixel.variance))}`;
    const sn = pixel.sn === null ? "" : ` · S/N ${formatValue(Number(pixel.sn.toPrecision(4)))}`;
    lines.push(make("span", { "data-name": "sigma" }, sigma + sn));
  }
  if (pixel.surface_brightness !== null) {
    lines.push(make("span", { "data-name": "AB" }, `${pixel.surface_brightness.toFixed(3)} mag/arcsec²`));
  }
  const where =
    id.tract === undefined ? "in the image, counted from 0" : `in the patch · ${pixel.tract_x}, ${pixel.tract_y} in the tract`;
  lines.push(make("span", { "data-name": "pixel" }, `${pixel.x}, ${pixel.y} ${where}`));
  if (pixel.has_mask) {
    const planes = pixel.mask.length ? pixel.mask.map((name) => make("em", { class: "plane" }, name)) : ["none set"];
    lines.push(make("span", { "data-name": "mask" }, ...planes));
  }
  return lines;
}

function actions(coadd, query, isButlers) {
  const box = make("div", { class: "actions" });
  if (coadd.dataset_type && isButlers) box.append(copyButton("Copy butler.get", butlerGet(coadd)));
  if (coadd.pixel) {
    const size = make("input", { type: "number", min: 1, max: 3600, value: CUTOUT, "aria-label": "Side of the cutout, arcsec" });
    const link = make("a", { class: "quiet", download: true }, "FITS cutout");
    const follow = () => (link.href = `api/cutout?${query}&${new URLSearchParams({ coadd: coadd.coadd, size: size.value || CUTOUT })}`);
    size.addEventListener("input", follow);
    follow();
    box.append(make("span", { class: "cutout" }, link, size, "″"));
  }
  return box;
}

function place(dimension) {
  const at = FIRST.indexOf(dimension);
  return at < 0 ? FIRST.length : at;
}

/** Return the Python expression that reads the coadd from its Butler. */
function butlerGet({ dataset_type, data_id, run }) {
  const id = Object.entries(data_id).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return `butler.get(${[JSON.stringify(dataset_type), ...id, `collections=${JSON.stringify(run)}`].join(", ")})`;
}
