// The figures of figures.json, and what every test needs to compare with them.

import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import figures from "./figures.json" with { type: "json" };

export default figures;

/** The bytes of a file, in an ArrayBuffer of their own. */
export function fileOf({ gzip }) {
  return Uint8Array.from(gunzipSync(Buffer.from(gzip, "base64"))).buffer;
}

/** JSON has no NaN: it is null there. */
export function withNaN(values) {
  return values.map((value) => value ?? NaN);
}

export function assertClose(found, wanted, tolerance, message) {
  assert.ok(Math.abs(found - wanted) <= tolerance, `${message}: ${found}, not ${wanted}`);
}
