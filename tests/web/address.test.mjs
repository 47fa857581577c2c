// The address tells all that is on the screen, today and as it was written earlier.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromHash, toHash } from "../../viewer/web/address.js";

const LOOK = {
  format: "fits",
  stretch: "log",
  low: -5,
  high: 300,
  colormap: "viridis",
  reversed: true,
};

const PLAIN = {
  survey: "band_r",
  view: { ra: 150.1, dec: -2.2, fov: 0.05 },
  over: [],
  looks: [],
  mode: "single",
  others: [],
  swipe: 0.5,
  turned: false,
  shown: [],
  masks: [],
  liveColor: null,
  here: null,
  hereOf: null,
  region: null,
  objects: [],
  lock: false,
};

const FULL = {
  ...PLAIN,
  survey: "first run/band_r & more",
  over: [
    ["band_i", 0.5],
    ["band_g", 0.25],
  ],
  looks: [
    ["band_r", LOOK],
    ["a.name.of.dots", { ...LOOK, low: 1e-7, reversed: false }],
    ["dates", { ...LOOK, low: 60622.99839, high: 60623.01611 }],
  ],
  mode: "swipe",
  others: ["band_i"],
  swipe: 0.4,
  turned: true,
  shown: ["grid", "flags"],
  masks: [["mask_r", ["SAT", "CR"]]],
  liveColor: { parts: ["i", "r", "g"], q: 8, span: 500, low: [0, -1, 0.5], gain: [1, 1.25, 1] },
  here: [150.1234567, -2.2],
  hereOf: "band_i",
  region: { kind: "circle", ra: 150.1, dec: 2.2, radius: 10 },
  objects: [
    ["stars", "mag < 20 and class = 'star'"],
    ["galaxies", ""],
  ],
  lock: true,
};

test("a state comes back from its address", () => {
  for (const state of [PLAIN, FULL]) assert.deepEqual(fromHash(`#${toHash(state)}`), state);
});

test("an address that was written before shows the same, and is written alike", () => {
  const old =
    "survey=band_i&ra=55.680000&dec=-31.450000&fov=0.04500&over=band_g%3A0.3" +
    "&look.band_i=fits%2Clog%2C-5%2C300%2Cviridis%2C1&mode=blink&with=first_run-band_i&turned=1" +
    "&show=grid%2Cpatches&mask.mask_i=SAT%2CCR&here=55.6800000%2C-31.4500000&here.of=band_g" +
    "&region=box%2C55.68%2C-31.45%2C10%2C20&objects.stars=mag+%3C+20&lock=1";
  const state = fromHash(old);
  assert.deepEqual(state.looks, [["band_i", LOOK]]);
  assert.deepEqual(state.others, ["first_run-band_i"]);
  assert.equal(state.turned, true);
  assert.deepEqual(state.masks, [["mask_i", ["SAT", "CR"]]]);
  const box = { kind: "box", ra: 55.68, dec: -31.45, width: 10, height: 20 };
  assert.deepEqual(state.region, box);
  assert.deepEqual(state.objects, [["stars", "mag < 20"]]);
  assert.equal(toHash(state), old);
});

test("a live color has the spelling of the first links", () => {
  const old = "survey=live-colour&colour=band_i,band_r,band_g,8,500,0,0,0,1,1,1";
  const state = fromHash(old);
  assert.equal(state.survey, "live-colour");
  const levels = { q: 8, span: 500, low: [0, 0, 0], gain: [1, 1, 1] };
  assert.deepEqual(state.liveColor, { parts: ["band_i", "band_r", "band_g"], ...levels });
  const written = new URLSearchParams(toHash({ ...state, view: PLAIN.view }));
  assert.equal(written.get("colour"), new URLSearchParams(old).get("colour"));
});

test("every kind of region and every mode comes back", () => {
  const regions = [
    { kind: "circle", ra: 1.23456789, dec: -2, radius: 0.5 },
    { kind: "box", ra: 1, dec: -2, width: 3, height: 4.5 },
    { kind: "line", ra: 1, dec: -2, ra2: 1.5, dec2: -2.5 },
  ];
  for (const region of regions) {
    assert.deepEqual(fromHash(toHash({ ...PLAIN, region })).region, region);
  }
  for (const mode of ["single", "swipe", "blink", "2", "4"]) {
    assert.equal(fromHash(toHash({ ...PLAIN, mode, others: ["x"] })).mode, mode);
  }
});

test("an empty address is an empty state", () => {
  for (const text of ["", "#"]) {
    assert.deepEqual(fromHash(text), { ...PLAIN, survey: null, view: null });
  }
});

test("nonsense is left out", () => {
  const nonsense = {
    view: ["ra=1&dec=91&fov=1", "ra=x&dec=1&fov=1", "ra=1&dec=1&fov=0", "ra=1&dec=1"],
    looks: ["look.a=fits,log,5,5,viridis,1", "look.a=fits", "looks=fits,log,1,2,gray,0"],
    mode: ["mode=3", "mode="],
    swipe: ["at=x"],
    liveColor: ["colour=i,r,g,8", "colour=i,r,g,8,500,0,0,0,1,1,x", "colour="],
    here: ["here=1", "here=1,2,3", "here=1,x"],
    region: ["region=circle,1,2", "region=star,1,2,3", "region=constructor,1", "region=box"],
    masks: ["mask=SAT"],
  };
  const empty = fromHash("");
  for (const [key, texts] of Object.entries(nonsense)) {
    for (const text of texts) assert.deepEqual(fromHash(text)[key], empty[key], text);
  }
});

test("shares are kept within their limits", () => {
  assert.deepEqual(fromHash("over=a:2,b:-1,c,d:x").over, [
    ["a", 1],
    ["b", 0],
    ["c", 0.5],
    ["d", 0.5],
  ]);
  assert.equal(fromHash("at=7").swipe, 0.98);
  assert.equal(fromHash("at=0").swipe, 0.02);
});
