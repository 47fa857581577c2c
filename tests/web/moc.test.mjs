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

test("a border has the coverage on one side, and is closed", () => {
  const cells = [
    [3, 5n],
    [3, 6n],
    [4, 900n],
    [9, 1500000n],
  ];
  const coverage = new Coverage(
    cells.map(([order, index]) => [
      index << (2n * BigInt(29 - order)),
      (index + 1n) << (2n * BigInt(29 - order)),
    ]),
  );
  const border = coverage.border();
  for (const line of border) {
    const [[lon, lat], [, end]] = [line[line.length >> 1], line.at(-1)];
    const size = 0.4 * Math.max(0.01, Math.abs(end - lat));
    const around = Array.from({ length: 12 }, (_, i) => [
      lon + (size * Math.cos((i * Math.PI) / 6)) / Math.cos((lat * Math.PI) / 180),
      lat + size * Math.sin((i * Math.PI) / 6),
    ]);
    const inside = around.filter((place) => coverage.holds(...place)).length;
    assert.ok(inside > 2 && inside < 10, `${lon} ${lat}: ${inside} of 12`);
  }
  // each corner is the end of an even number of lines
  const ends = Map.groupBy(
    border.flatMap((line) => [line[0], line.at(-1)]),
    (place) => place.map((one) => one.toFixed(6)).join(),
  );
  assert.ok(border.length > 50);
  for (const [place, lines] of ends) assert.equal(lines.length % 2, 0, place);
});

test("the whole sky has no border, and two of its base cells share one edge", () => {
  assert.deepEqual(new Coverage([[0n, 12n << 58n]]).border(), []);
  const lines = (...faces) =>
    new Coverage(faces.map((face) => [face << 58n, (face + 1n) << 58n])).border(2).length;
  assert.equal(lines(0n), 4);
  assert.equal(lines(0n, 4n), 6);
});

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
