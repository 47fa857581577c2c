// Cuts against astropy's ZScaleInterval and numpy's percentiles.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ordered, percentileCuts, quantile, zscaleCuts } from "../../viewer/web/cuts.js";
import figures, { assertClose } from "./figures.mjs";

for (const { values, zscale, harsh, percent } of figures.cuts) {
  const sorted = Float64Array.from(values);
  const tolerance = 1e-9 * (values.at(-1) - values[0]);

  test(`zscale of ${values.length} values is astropy's`, () => {
    zscaleCuts(sorted).forEach((cut, i) => assertClose(cut, zscale[i], tolerance, "cut"));
    const cuts = zscaleCuts(sorted, { rejected: 1.2, contrast: 0.5 });
    cuts.forEach((cut, i) => assertClose(cut, harsh[i], tolerance, "harsh cut"));
  });

  test(`percentiles of ${values.length} values are numpy's`, () => {
    for (const [share, wanted] of Object.entries(percent)) {
      const found = percentileCuts(sorted, Number(share));
      found.forEach((cut, i) => assertClose(cut, wanted[i], tolerance, `${share} %`));
    }
  });
}

test("outliers do not move the cuts", () => {
  const noise = figures.cuts[0].values;
  const [, high] = zscaleCuts(Float64Array.from(noise));
  assert.ok(high < noise.at(-1) / 10);
});

test("values that are all the same have cuts that increase", () => {
  for (const value of [0, -7, 1e9]) {
    const same = new Float64Array(20).fill(value);
    for (const [low, high] of [zscaleCuts(same), percentileCuts(same, 99)]) {
      assert.equal(low, value);
      assert.ok(high > low);
    }
  }
});

test("a quantile between two values is in proportion", () => {
  assert.equal(quantile([1, 3], 0.25), 1.5);
  assert.equal(quantile([1, 3], 1), 3);
  assert.deepEqual(ordered(1, 3), [1, 3]);
});
