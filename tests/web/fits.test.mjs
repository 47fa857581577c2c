// FITS tiles against astropy, from files that astropy and hipsgen wrote.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";
import { FitsTile, TileCache, fitsAnswer, readHeader } from "../../viewer/web/fits.js";
import figures, { fileOf, withNaN } from "./figures.mjs";

const named = (name) => figures.fits.find((one) => one.name === name);
const readable = figures.fits.filter(({ floats }) => floats);

afterEach(() => mock.restoreAll());

for (const { name, file, floats, integers } of readable) {
  test(`${name}: the values are astropy's`, () => {
    const tile = new FitsTile(fileOf(file));
    assert.deepEqual([...tile.floats()], withNaN(floats));
    if (integers) assert.deepEqual([...tile.integers()], integers);
  });

  test(`${name}: one pixel is that of the row and column`, () => {
    const tile = new FitsTile(fileOf(file));
    for (let row = 0; row < 4; row++) {
      for (let column = 0; column < 4; column++) {
        const wanted = floats[4 * row + column] ?? NaN;
        assert.equal(Math.fround(tile.at(row, column)), wanted);
      }
    }
  });
}

test("all types of pixels are among them, and missing ones", () => {
  const types = readable.map(({ file }) => readHeader(fileOf(file)).cards.BITPIX);
  assert.deepEqual(new Set(types), new Set([8, 16, 32, 64, -32, -64]));
  for (const name of ["f4", "f8", "i2 with BSCALE and BZERO", "flags of a survey"]) {
    assert.ok(named(name).floats.includes(null), name);
  }
});

test("a tile of doubles keeps their digits, and so do their differences written as float32", async () => {
  const answer = fitsAnswer(2, new Float64Array(4));
  const written = new Uint8Array(await answer.arrayBuffer());
  assert.equal(written.length, 2 * 2880);
  const text = "BITPIX  =                  -64";
  written.set(
    [...text].map((c) => c.charCodeAt(0)),
    80,
  );
  const dates = [60623.0001, 60623.0002, NaN, 60622.99999];
  const view = new DataView(written.buffer, 2880);
  dates.forEach((date, i) => view.setFloat64(8 * i, date));
  const tile = new FitsTile(written.buffer);
  assert.deepEqual([...tile.floats()], dates);
  assert.equal(tile.at(0, 1), 60623.0002);
  const differences = tile.floats().map((date) => date - 60623);
  const relative = new FitsTile(await fitsAnswer(2, differences).arrayBuffer());
  assert.deepEqual([...relative.floats()], [...Float32Array.from(differences)]);
  assert.ok(Math.abs(relative.at(1, 1) + 1e-5) < 1e-11);
});

test("a header is read over several blocks: text, numbers, flags", () => {
  const { cards, data } = readHeader(fileOf(named("two blocks of header").file));
  assert.equal(data, 2 * 2880);
  assert.equal(cards.OBJECT, "it's / here");
  assert.equal(cards.SIMPLE, true);
  assert.equal(cards.KEY39, 39 / 8);
});

test("a compressed tile is refused, however it is read", () => {
  const tile = new FitsTile(fileOf(named("compressed").file));
  assert.throws(() => tile.at(0, 0), /compressed/);
  assert.throws(() => tile.floats(), /compressed/);
  assert.throws(() => tile.integers(), /compressed/);
});

test("what is no FITS file is refused", () => {
  assert.throws(() => new FitsTile(new ArrayBuffer(0)), /not a FITS file/);
  assert.throws(() => new FitsTile(new ArrayBuffer(5760)), /not a FITS file/);
});

/** A server of one tile for each address that ends in "tile". */
function serve() {
  return mock.method(globalThis, "fetch", async (url) => {
    if (url.endsWith("broken")) return new Response("", { status: 500 });
    if (!url.endsWith("tile")) return new Response("", { status: 404 });
    return new Response(fileOf(named("f4").file));
  });
}

test("a tile is asked for once, while it is among the last", async () => {
  const asked = serve();
  const tiles = new TileCache(2);
  const [one, same] = await Promise.all([tiles.get("a/tile"), tiles.get("a/tile")]);
  assert.equal(one, same);
  await tiles.get("b/tile");
  await tiles.get("a/tile");
  await tiles.get("c/tile");
  assert.equal(asked.mock.callCount(), 3);
  // b was the one not used for longest
  await tiles.get("a/tile");
  assert.equal(asked.mock.callCount(), 3);
  await tiles.get("b/tile");
  assert.equal(asked.mock.callCount(), 4);
});

test("a tile that is not there is null; a failure is asked about again", async () => {
  const asked = serve();
  const tiles = new TileCache(2);
  assert.equal(await tiles.get("none"), null);
  for (let i = 0; i < 2; i++) await assert.rejects(tiles.get("broken"), /broken: 500/);
  assert.equal(asked.mock.callCount(), 3);
});
