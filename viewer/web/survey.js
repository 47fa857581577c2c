// A survey's own page: works on any web server at any path, and requests nothing outside its folder.

import { firstPicture } from "./gate.js";
import { Readout, probe } from "./readout.js";
import { defaultSettings, initialView, openSky } from "./sky.js";

async function readProperties(url) {
  const answer = await fetch(`${url}/properties`);
  if (!answer.ok) throw new Error(`no properties file (${answer.status})`);
  const lines = (await answer.text()).split(/\r?\n/).filter((line) => !/^\s*(#|$)/.test(line));
  return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2).map((part) => part.trim())));
}

function describe(url, properties) {
  const number = (key) => (properties[key] ? Number(properties[key]) : null);
  const pair = (key) => {
    const values = (properties[key] ?? "").split(/\s+/).filter(Boolean).map(Number);
    return values.length === 2 && values.every(Number.isFinite) ? values : null;
  };
  return {
    name: "survey",
    url,
    title: properties.obs_title || properties.creator_did || "HiPS survey",
    description: properties.obs_description ?? "",
    unit: properties.hips_bunit ?? "",
    formats: (properties.hips_tile_format ?? "").toLowerCase().split(/\s+/),
    order: number("hips_order"),
    order_min: number("hips_order_min") ?? 0,
    tile_width: number("hips_tile_width") ?? 512,
    frame: (properties.hips_frame ?? "equatorial").toLowerCase(),
    bitpix: number("hips_pixel_bitpix"),
    offset: number("hipsgen_offset") ?? 0,
    cuts: pair("hips_pixel_cut"),
    data_range: pair("hips_data_range"),
    initial: { ra: number("hips_initial_ra"), dec: number("hips_initial_dec"), fov: number("hips_initial_fov") },
  };
}

async function start() {
  const url = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const survey = describe(url, await readProperties(url));
  const about = document.getElementById("about");
  document.title = survey.title;
  about.querySelector("h1").textContent = survey.title;
  about.querySelector("p").textContent = survey.description;
  const div = document.getElementById("sky");
  const { sky, layer } = await openSky(div, survey, defaultSettings(survey), initialView(survey));
  await sky.added(layer);
  await firstPicture();
  const readout = new Readout(sky, document.getElementById("readout"), () => [{ survey, label: "" }]);
  readout.update();
  Object.assign(window.viewer, { survey, sky });
  Object.defineProperty(window.viewer, "readout", { get: () => readout.last });
}

window.viewer = { probe };
window.viewer.ready = start().catch((error) => {
  document.getElementById("about").querySelector("p").textContent = `This survey cannot be shown: ${error?.message ?? error}`;
  throw error;
});
