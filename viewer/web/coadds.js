// The card that a click opens: which coadds gave the pixels there.

import { formatDec, formatRa } from "./coords.js";

const FIRST = ["tract", "patch", "band"];

let asked = 0;

/** Fill and open `card` for an ICRS position; a survey without provenance has none. */
export async function coaddCard(card, survey, ra, dec) {
  const turn = ++asked;
  if (!survey.provenance) {
    card.hidden = true;
    return;
  }
  const query = new URLSearchParams({ survey: survey.name, ra, dec });
  const answer = await fetch(`api/coadds?${query}`);
  const found = await answer.json();
  if (turn !== asked) return;
  card.querySelector("[data-part=position]").textContent = `${formatRa(ra)} ${formatDec(dec)}`;
  card.querySelector("[data-part=survey]").textContent = survey.title;
  const list = card.querySelector("ul");
  const items = answer.ok ? found.coadds.map(coaddItem) : [textItem(found.error)];
  list.replaceChildren(...(items.length ? items : [textItem("No coadd gave pixels here.")]));
  card.querySelector("button").onclick = () => {
    card.hidden = true;
  };
  card.hidden = false;
}

function coaddItem(coadd) {
  const item = document.createElement("li");
  const id = Object.keys(coadd.data_id).sort((a, b) => place(a) - place(b));
  const head = id.length ? id.map((key) => `${key} ${coadd.data_id[key]}`).join(" · ") : coadd.uri.split("/").pop();
  item.append(line("strong", head));
  for (const [name, value] of [["run", coadd.run], ["uuid", coadd.uuid], ["file", coadd.uri]]) {
    if (value) item.append(line("span", value, name));
  }
  if (coadd.dataset_type && id.length) item.append(copyButton(butlerGet(coadd)));
  return item;
}

function place(dimension) {
  const at = FIRST.indexOf(dimension);
  return at < 0 ? FIRST.length : at;
}

/** The line of Python that reads the coadd from its Butler. */
function butlerGet({ dataset_type, data_id, run }) {
  const id = Object.entries(data_id).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return `butler.get(${[JSON.stringify(dataset_type), ...id, `collections=${JSON.stringify(run)}`].join(", ")})`;
}

function copyButton(text) {
  const button = line("button", "Copy butler.get");
  button.type = "button";
  button.className = "quiet";
  button.title = text;
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // no clipboard without https: show the line to be taken by hand
      button.replaceWith(line("code", text));
    }
  };
  return button;
}

function textItem(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

function line(tag, text, name = "") {
  const element = document.createElement(tag);
  if (name) element.dataset.name = name;
  element.textContent = text;
  return element;
}
