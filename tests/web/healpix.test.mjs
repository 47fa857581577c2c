// HEALPix against healpy; pixels of tiles against the WCS that our FITS tiles carry.

import assert from "node:assert/strict";
import { test } from "node:test";
import { nestedIndex, pixelAt, positionOf, tilePixel } from "../../viewer/web/healpix.js";
import figures from "./figures.mjs";

const { positions, borders, pixels, tiles } = figures.healpix;

function indexAt(order, lon, lat) {
  const nside = 2 ** order;
  return nestedIndex(pixelAt(lon, lat, nside), nside);
}

test("a position has the pixel that healpy gives it, at orders 0 to 24", () => {
  assert.deepEqual(new Set(positions.map(([order]) => order)), new Set([0, 1, 5, 12, 18, 24]));
  for (const [order, lon, lat, npix] of positions) {
    assert.equal(indexAt(order, lon, lat), npix, `order ${order}, ${lon} ${lat}`);
  }
});

test("a pixel reaches to its corners and edges, those of faces too", () => {
  for (const [order, lon, lat, npix] of borders) {
    assert.equal(indexAt(order, lon, lat), npix, `order ${order}, ${lon} ${lat}`);
  }
});

test("face, x and y make the NESTED number", () => {
  for (const [order, npix, face, x, y] of pixels) {
    assert.equal(nestedIndex({ face, x, y }, 2 ** order), npix);
  }
});

test("a pole belongs to one of the pixels that touch it", () => {
  for (const lon of [0, 45, 90, 180, 359.9]) {
    for (const [lat, corner] of [
      [90, 63],
      [-90, 0],
    ]) {
      const { face, x, y } = pixelAt(lon, lat, 64);
      assert.deepEqual([x, y], [corner, corner]);
      assert.equal(face, Math.floor(lon / 90) + (lat > 0 ? 0 : 8));
    }
  }
});

test("a point of a face has the pixel that contains it", () => {
  const nside = 2 ** 20;
  for (let face = 0; face < 12; face++) {
    for (const x of [1e-5, 0.1, 0.500001, 0.77, 0.99999]) {
      for (const y of [1e-5, 0.2, 0.499999, 0.77, 0.99999]) {
        const wanted = { face, x: Math.floor(x * nside), y: Math.floor(y * nside) };
        assert.deepEqual(pixelAt(...positionOf(face, x, y), nside), wanted);
      }
    }
  }
});

test("where faces meet a position has one pixel of the map", () => {
  for (const lat of [-41.8103148957786, -20, 0, 20, 41.8103148957786]) {
    for (let lon = -360; lon <= 720; lon += 45) {
      const { face, x, y } = pixelAt(lon, lat, 1024);
      assert.ok(face >= 0 && face < 12 && Number.isInteger(face), `${lon} ${lat}: face ${face}`);
      for (const one of [x, y]) assert.ok(one >= 0 && one < 1024, `${lon} ${lat}: ${x}, ${y}`);
    }
  }
});

test("row and column of a tile are those of its WCS", () => {
  for (const [order, width, lon, lat, npix, row, column] of tiles) {
    assert.deepEqual(tilePixel(lon, lat, order, width), { npix, row, column });
  }
});
