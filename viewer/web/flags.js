// The list of flags (positions with a note and a view), stored on the server or in the browser.

import { api } from "./api.js";
import { formatDec, formatRa } from "./coords.js";
import { button, keep, make, recall, save } from "./elements.js";

const KEY = "hipsgen-flags";
// columns with text of users, and text that a spreadsheet would take for a formula
const TYPED = ["note", "author"];
const FORMULA = /^'*[=+\-@\t\r]/;
const COLUMNS = ["survey", "ra", "dec", "note", "author", "created", "view", "id"];

/** Flags on the server or, if it is read-only, in this browser. */
export class FlagStore {
  constructor() {
    this.flags = [];
    this.local = false;
  }

  async load() {
    const found = await api("api/flags");
    this.local = found.read_only;
    this.flags = [...found.flags, ...(this.local ? (recall(KEY) ?? []) : [])];
    return this.flags;
  }

  async add(words) {
    if (!this.local) return this.took(await send("POST", "api/flags", words));
    const now = new Date().toISOString();
    const flag = { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), version: 1, created: now, ...words, local: true };
    return this.took(flag);
  }

  async change(flag, words) {
    const now = { ...flag, ...words };
    if (flag.local) return this.took(now);
    return this.took(await send("PUT", address(flag), { version: flag.version, ...words }));
  }

  async remove(flag) {
    if (!flag.local) await send("DELETE", address(flag), { version: flag.version });
    this.flags = this.flags.filter((one) => one.id !== flag.id);
    this.keep();
  }

  took(flag) {
    const at = this.flags.findIndex((one) => one.id === flag.id);
    if (at < 0) this.flags.push(flag);
    else this.flags[at] = flag;
    this.keep();
    return flag;
  }

  keep() {
    if (this.local && !keep(KEY, this.flags.filter((one) => one.local))) throw new Error("this browser does not allow the page to store data: export the flags before you leave");
  }
}

function address(flag) {
  return `api/flags/${encodeURIComponent(flag.survey)}/${encodeURIComponent(flag.id)}`;
}

function send(method, url, words) {
  return api(url, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(words) });
}

/** Return flags as CSV (RFC 4180). Text that spreadsheets would run as a formula is preceded by an apostrophe. */
export function toCsv(flags) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const text = (value, name) => (TYPED.includes(name) && FORMULA.test(value) ? `'${value}` : value);
  const rows = flags.map((flag) => COLUMNS.map((name) => cell(text(String(flag[name] ?? ""), name))).join(","));
  return [COLUMNS.join(","), ...rows].join("\r\n") + "\r\n";
}

/** Parse CSV into objects, with keys from the first row; removes the apostrophes that `toCsv` adds. */
export function fromCsv(text) {
  const rows = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    const line = rows.at(-1);
    if (quoted) {
      if (c === '"' && text[i + 1] === '"') line[line.length - 1] += text[++i];
      else if (c === '"') quoted = false;
      else line[line.length - 1] += c;
    } else if (c === '"') quoted = true;
    else if (c === ",") line.push("");
    else if (c === "\n") rows.push([""]);
    else if (c !== "\r") line[line.length - 1] += c;
  }
  const [names, ...lines] = rows.filter((line) => line.length > 1 || line[0]);
  if (!names) return [];
  const keys = names.map((name) => name.trim().replace(/^\ufeff/, "").toLowerCase());
  const plain = (text, key) => (TYPED.includes(key) && text.startsWith("'") && FORMULA.test(text) ? text.slice(1) : text);
  return lines.map((line) => Object.fromEntries(keys.map((key, i) => [key, plain(line[i] ?? "", key)])));
}

/** The panel with the list of flags. */
export class FlagPanel {
  constructor(box, viewer) {
    this.viewer = viewer;
    this.store = new FlagStore();
    this.list = box.querySelector("ul");
    this.box = box;
    const file = make("input", { type: "file", accept: ".csv,text/csv", hidden: true, "aria-label": "CSV file of flags" });
    file.addEventListener("change", () => this.guarded(() => this.read(file)));
    box.querySelector("[data-part=actions]").append(
      button("Flag the center", () => this.flagHere(), { title: "Flag the position of the pointer, or the center (f)" }),
      button("Export CSV", () => this.export()),
      button("Import CSV", () => file.click()),
      file,
    );
  }

  async load() {
    await this.guarded(() => this.store.load());
    this.update();
  }

  /** Run a change of flags; if it fails, show the error and reload the list from the server. */
  async guarded(work) {
    try {
      await work();
    } catch (error) {
      this.viewer.tell("Flags", error.message);
      await this.store.load().catch(() => {});
    }
    this.update();
  }

  /** Return the position of the pointer, else the clicked one, else the center. */
  place() {
    const { readout, here, sky } = this.viewer;
    if (readout.last && readout.last.at === "pointer") return readout.last;
    return here ? { ra: here[0], dec: here[1] } : (readout.last ?? sky.view());
  }

  flagHere() {
    const { ra, dec } = this.place();
    return this.guarded(async () => {
      const words = { survey: this.viewer.flaggable().name, ra: ((ra % 360) + 360) % 360, dec, note: "", view: this.viewer.hash() };
      const flag = await this.store.add(words);
      this.box.hidden = false;
      this.update();
      const item = this.list.querySelector(`[data-flag="${CSS.escape(flag.id)}"]`);
      item?.querySelector("textarea").focus();
      item?.scrollIntoView({ block: "nearest" });
    });
  }

  export() {
    save("flags.csv", new Blob([toCsv(this.store.flags)], { type: "text/csv" }));
  }

  async read(file) {
    const rows = fromCsv(await file.files[0].text());
    file.value = "";
    const known = new Set(this.store.flags.map((one) => one.id));
    for (const row of rows.filter((one) => !known.has(one.id))) {
      const [ra, dec] = [Number(row.ra), Number(row.dec)];
      if (!row.ra || !row.dec || !Number.isFinite(ra + dec)) throw new Error(`a row of the file has no position: ${JSON.stringify(row).slice(0, 80)}`);
      const survey = this.viewer.find(row.survey) ?? this.viewer.flaggable();
      await this.store.add({ survey: survey.name, ra, dec, note: row.note ?? "", view: row.view ?? "", author: row.author ?? "" });
    }
  }

  update() {
    const { flags, local } = this.store;
    this.box.querySelector("[data-part=kept]").textContent = local ? "stored in this browser: the server is read-only" : "";
    this.box.querySelector("[data-part=count]").textContent = String(flags.length);
    if (!this.list.contains(document.activeElement) || document.activeElement.tagName !== "TEXTAREA") {
      this.list.replaceChildren(...flags.map((flag) => this.item(flag)));
    }
    this.viewer.redraw();
  }

  item(flag) {
    const note = make("textarea", { rows: 2, maxlength: 2000, placeholder: "note (Enter saves it)", "aria-label": "Note" });
    note.value = flag.note;
    note.addEventListener("change", () => this.guarded(() => this.store.change(this.now(flag), { note: note.value })));
    note.addEventListener("keydown", (event) => (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) && note.blur());
    return make("li", { "data-flag": flag.id },
      make("span", { class: "place" }, `${formatRa(flag.ra)} ${formatDec(flag.dec)}`, make("small", { class: "dim" }, ` ${flag.survey}`)),
      note,
      make("div", { class: "actions" },
        button("Go", () => this.viewer.visit(flag), { "aria-label": "Go to this flag" }),
        button("Delete", () => this.guarded(() => this.store.remove(this.now(flag))), { "aria-label": "Delete this flag" })));
  }

  now(flag) {
    return this.store.flags.find((one) => one.id === flag.id) ?? flag;
  }

  items() {
    return this.box.hidden ? [] : this.store.flags.map(({ ra, dec, note }) => ({ kind: "flag", ra, dec, label: note }));
  }
}
