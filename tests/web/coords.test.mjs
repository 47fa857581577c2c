// Positions against astropy.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as coords from "../../viewer/web/coords.js";
import figures, { assertClose } from "./figures.mjs";

const { parsed, written, galactic, ecliptic } = figures.coords;
const RADIANS = Math.PI / 180;

for (const [text, ra, dec] of parsed) {
  test(`"${text}" is read as astropy reads it`, () => {
    const found = coords.parsePosition(text);
    assertClose(found.ra, ra, 1e-10, text);
    assertClose(found.dec, dec, 1e-10, text);
  });
}

test("signs and units of a text processor, too", () => {
  const wanted = coords.parsePosition("10:00:24 -02:12:36");
  for (const text of ["10h00m24s −2°12′36″", "10:00:24, –02:12:36", "  10 00 24 -2 12 36 "]) {
    assert.deepEqual(coords.parsePosition(text), wanted, text);
  }
  assert.deepEqual(coords.parsePosition("10h -2"), { ra: 150, dec: -2 });
  assert.deepEqual(coords.parsePosition("360 0"), { ra: 0, dec: 0 });
});

test("what is no position is refused", () => {
  const none = ["", "M 31", "150.1", "1 2 3", "-1 0", "361 0", "1 90.1", "10:60:00 02:00:00"];
  none.push(
    "10:00:24 95:00:00",
    "10:00:24 02:12:60",
    "25:00:00 00:00:00",
    "1e2 3",
    "1..2 3",
    "10:-1:00 02:00:00",
  );
  for (const text of none) assert.equal(coords.parsePosition(text), null, text);
});

test("hours and degrees are written as astropy writes them", () => {
  for (const [ra, dec, hours, degrees] of written) {
    assert.equal(coords.formatRa(ra), hours);
    assert.equal(coords.formatDec(dec).replace("−", "-"), degrees);
  }
});

test("no 60 seconds and no 24 hours are written", () => {
  assert.equal(coords.formatRa(359.99999999), "00:00:00.000");
  assert.equal(coords.formatRa(-15), "23:00:00.000");
  assert.equal(coords.formatRa(14.99999999), "01:00:00.000");
  assert.equal(coords.formatDec(9.99999999), "+10:00:00.00");
  assert.equal(coords.formatDec(-0.5), "−00:30:00.00");
});

test("what is written is read again", () => {
  for (const [ra, dec] of written) {
    const found = coords.parsePosition(`${coords.formatRa(ra)} ${coords.formatDec(dec)}`);
    assertClose(found.ra, ra, 0.5 * (0.0151 / 3600), "ra");
    assertClose(found.dec, dec, 0.5 * (0.0101 / 3600), "dec");
  }
});

test("galactic positions are those of the Hipparcos catalog, which Aladin shows", () => {
  for (const [[ra, dec], hipparcos] of galactic) {
    assert.ok(separation(coords.toGalactic(ra, dec), hipparcos) < 0.001, `${ra} ${dec}`);
  }
});

test("positions in the frame of a survey: none in an unknown one", () => {
  for (const [[ra, dec], wanted] of ecliptic) {
    assert.ok(separation(coords.inFrame("ecliptic", ra, dec), wanted) < 1e-6, `${ra} ${dec}`);
  }
  assert.deepEqual(coords.inFrame("galactic", 266.4, -28.9), coords.toGalactic(266.4, -28.9));
  assert.deepEqual(coords.inFrame("equatorial", 266.4, -28.9), [266.4, -28.9]);
  for (const frame of ["equatorial", "galactic", "ecliptic"]) {
    const back = coords.fromFrame(frame, ...coords.inFrame(frame, 266.4, -28.9));
    assert.ok(separation(back, [266.4, -28.9]) < 1e-6, frame);
  }
  assert.equal(coords.fromFrame("horizontal", 266.4, -28.9), null);
  for (const frame of ["", "horizontal", "toString"]) {
    assert.equal(coords.inFrame(frame, 266.4, -28.9), null);
  }
});

test("astropy's galactic positions are up to 25 mas away: another matrix", () => {
  const away = galactic.map(([[ra, dec], , astropy]) =>
    separation(coords.toGalactic(ra, dec), astropy),
  );
  const most = Math.max(...away);
  assert.ok(most > 20 && most < 25, `${most} mas`);
});

test("angles in the unit that suits their size", () => {
  const angles = { 12.5: "12.5°", 1: "1°", 0.99: "59.4′", 0.0166: "59.8″", 0.00123456: "4.44″" };
  for (const [degrees, text] of Object.entries(angles)) {
    assert.equal(coords.formatAngle(Number(degrees)), text);
  }
});

test("values with six digits", () => {
  assert.equal(coords.formatValue(0), "0");
  assert.equal(coords.formatValue(-3.14159265), "−3.14159");
  assert.equal(coords.formatValue(1234567.8), "1234570");
  assert.equal(coords.formatValue(12345678), "1.23457e+7");
  assert.equal(coords.formatValue(0.0000123456789), "1.23457e−5");
});

test("units as they are written by hand", () => {
  assert.equal(coords.formatUnit("nJy**2"), "nJy²");
  assert.equal(coords.formatUnit("cm**3/s**2"), "cm³/s²");
  assert.equal(coords.formatUnit(null), "");
});

/** Milliarcseconds between two positions; also of those that are close to each other. */
function separation(one, other) {
  const [a, b] = [one, other].map(([lon, lat]) => {
    const [l, d] = [lon * RADIANS, lat * RADIANS];
    return [Math.cos(d) * Math.cos(l), Math.cos(d) * Math.sin(l), Math.sin(d)];
  });
  const chord = Math.hypot(...a.map((x, i) => x - b[i]));
  return (chord / RADIANS) * 3600e3;
}
