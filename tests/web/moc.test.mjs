// Coverage against mocpy, from files as mocpy, a survey and the first writers have them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Coverage, readRanges } from "../../viewer/web/moc.js";
import figures, { fileOf } from "./figures.mjs";

for (const { name, files, ranges, positions, cells } of figures.mocs) {
  const wanted = ranges.map((ends) => ends.map(BigInt));

  for (const [form, file] of Object.entries(files)) {
    test(`${form} of ${name}: the ranges are mocpy's`, () => {
      assert.deepEqual(merged(new Coverage(readRanges(fileOf(file))).ranges), wanted);
    });
  }

  test(`${name} holds the positions that mocpy says it does`, () => {
    const coverage = new Coverage(readRanges(fileOf(files.RANGE)));
    for (const [lon, lat, inside] of positions) {
      assert.equal(coverage.holds(lon, lat), inside, `${lon} ${lat}`);
    }
  });

  test(`${name} meets the cells that mocpy says it does, larger and smaller ones`, () => {
    const coverage = new Coverage(readRanges(fileOf(files["NUNIQ of a survey"])));
    for (const [order, index, meets] of cells) {
      assert.equal(coverage.meets(order, BigInt(index)), meets, `${order}/${index}`);
    }
  });
}

test("the last cells of the deepest order are told apart", () => {
  const last = 12n * 4n ** 29n - 1n;
  const coverage = new Coverage([[last - 2n, last]]);
  assert.ok(coverage.meets(29, last - 1n));
  assert.ok(!coverage.meets(29, last));
  assert.ok(!coverage.meets(29, last - 3n));
});

test("what is no MOC is refused", () => {
  assert.throws(() => readRanges(new ArrayBuffer(0)), /not a FITS file/);
  assert.throws(() => readRanges(new TextEncoder().encode("<html>".repeat(999)).buffer), /FITS/);
});

/** Ranges that touch, as one: cells of NUNIQ come one by one. */
function merged(ranges) {
  const found = [];
  for (const [first, end] of ranges) {
    if (found.at(-1)?.[1] === first) found.at(-1)[1] = end;
    else found.push([first, end]);
  }
  return found;
}
