// The live color against its formula in numpy.

import assert from "node:assert/strict";
import { test } from "node:test";
import { lupton } from "../../viewer/web/lupton.js";
import figures, { withNaN } from "./figures.mjs";

const PLAIN = { q: 8, span: 500, low: [0, 0, 0], gain: [1, 1, 1] };

for (const { settings, values, levels } of figures.lupton) {
  test(`levels for Q ${settings.q} are those of the formula`, () => {
    values.forEach((row, i) => {
      assert.deepEqual(lupton(withNaN(row), settings), levels[i], `of ${row}`);
    });
  });
}

test("black, white and gray", () => {
  assert.deepEqual(lupton([0, 0, 0], PLAIN), [0, 0, 0]);
  assert.deepEqual(lupton([-5, -5, -5], PLAIN), [0, 0, 0]);
  assert.deepEqual(lupton([500, 500, 500], PLAIN), [255, 255, 255]);
  assert.deepEqual(lupton([1e6, 1e6, 1e6], PLAIN), [255, 255, 255]);
});

test("a bright source keeps its hue: the strongest is full, the others in proportion", () => {
  for (const bright of [1e3, 1e5]) {
    assert.deepEqual(lupton([bright, 0.4 * bright, 0.2 * bright], PLAIN), [255, 102, 51]);
  }
});

test("a band that is missing counts as the mean of the others", () => {
  assert.deepEqual(lupton([100, NaN, 300], PLAIN), lupton([100, 200, 300], PLAIN));
  assert.deepEqual(lupton([NaN, NaN, NaN], PLAIN), [0, 0, 0]);
});
