// Reader of FITS tiles: uncompressed images, accessed pixel by pixel.

const BLOCK = 2880;
/** @type {Record<number, (view: DataView, i: number) => number>} */
const READERS = {
  8: (view, i) => view.getUint8(i),
  16: (view, i) => view.getInt16(2 * i),
  32: (view, i) => view.getInt32(4 * i),
  64: (view, i) => Number(view.getBigInt64(8 * i)),
  [-32]: (view, i) => view.getFloat32(4 * i),
  [-64]: (view, i) => view.getFloat64(8 * i),
};

/** @typedef {Record<string, string | number | boolean>} Cards */

/**
 * Return the cards of the header at `offset`, and the offset of its data.
 * @param {ArrayBuffer} buffer
 */
export function readHeader(buffer, offset = 0) {
  /** @type {Cards} */
  const cards = {};
  for (let at = offset; at + 80 <= buffer.byteLength; at += 80) {
    const card = String.fromCharCode(...new Uint8Array(buffer, at, 80));
    const key = card.slice(0, 8).trim();
    if (key === "END") {
      return { cards, data: offset + Math.ceil((at + 80 - offset) / BLOCK) * BLOCK };
    }
    if (card.slice(8, 10) === "= ") cards[key] = cardValue(card.slice(10));
  }
  throw new Error("not a FITS file");
}

/** @param {string} text */
function cardValue(text) {
  const quoted = text.match(/^\s*'((?:[^']|'')*)'/);
  if (quoted) return quoted[1].replaceAll("''", "'").trimEnd();
  const bare = text.split("/")[0].trim();
  return bare === "T" ? true : bare === "F" ? false : Number(bare);
}

/** A tile. Compressed tiles, which have no image in the primary HDU, are not supported. */
export class FitsTile {
  /** @type {Float32Array | Float64Array | undefined} */
  #values;
  /** @type {Int32Array | undefined} */
  #stored;

  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    const { cards, data } = readHeader(buffer);
    const bitpix = Number(cards.BITPIX);
    this.width = Number(cards.NAXIS1);
    this.isDouble = bitpix === -64;
    this.reader = Number(cards.NAXIS) >= 2 ? READERS[bitpix] : undefined;
    this.view = new DataView(buffer, Math.min(data, buffer.byteLength));
    this.blank = bitpix > 0 ? cards.BLANK : undefined;
    this.scale = Number(cards.BSCALE ?? 1);
    this.zero = Number(cards.BZERO ?? 0);
  }

  /** Read a stored pixel value by its index. */
  get read() {
    if (!this.reader) throw new Error("a compressed tile");
    return this.reader;
  }

  /**
   * Return the physical value, NaN if missing; row 0 is at the bottom.
   * @param {number} row
   * @param {number} column
   */
  at(row, column) {
    return this.physical(this.read(this.view, row * this.width + column));
  }

  /** @param {number} stored */
  physical(stored) {
    return stored === this.blank ? NaN : stored * this.scale + this.zero;
  }

  /** Return all physical values, row 0 at the bottom; in double precision if the file has it. */
  floats() {
    const { read, view } = this;
    const empty = new (this.isDouble ? Float64Array : Float32Array)(this.width ** 2);
    this.#values ??= empty.map((_, i) => this.physical(read(view, i)));
    return this.#values;
  }

  /** Return all stored values, for masks. */
  integers() {
    const { read, view } = this;
    this.#stored ??= new Int32Array(this.width ** 2).map((_, i) => read(view, i));
    return this.#stored;
  }
}

/** Cache of the tiles requested last; the browser's own cache has most others. */
export class TileCache {
  constructor(limit = 48) {
    this.limit = limit;
    /** @type {Map<string, Promise<FitsTile | null>>} */
    this.tiles = new Map();
  }

  /**
   * Return a promise of the tile, or of null if it does not exist.
   * @param {string} url
   */
  get(url) {
    const known = this.tiles.get(url) ?? fetchTile(url);
    this.tiles.delete(url);
    this.tiles.set(url, known);
    known.catch(() => this.tiles.delete(url));
    if (this.tiles.size > this.limit) this.tiles.delete([...this.tiles.keys()][0]);
    return known;
  }
}

/** The cache shared by everything that reads values. */
export const tiles = new TileCache(96);

/** @param {string} url */
async function fetchTile(url) {
  const answer = await fetch(url);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return new FitsTile(await answer.arrayBuffer());
}

/**
 * Return a response with a FITS tile of float32 values.
 * @param {number} width
 * @param {Float32Array | Float64Array} values row 0 at the bottom
 */
export function fitsAnswer(width, values) {
  const size = String(width).padStart(20);
  const cards = [
    "SIMPLE  =                    T",
    "BITPIX  =                  -32",
    "NAXIS   =                    2",
    `NAXIS1  = ${size}`,
    `NAXIS2  = ${size}`,
    "END",
  ];
  const header = cards.map((card) => card.padEnd(80)).join("");
  const bytes = new ArrayBuffer(BLOCK + Math.ceil((4 * values.length) / BLOCK) * BLOCK);
  new Uint8Array(bytes, 0, BLOCK).set([...header.padEnd(BLOCK)].map((c) => c.charCodeAt(0)));
  const view = new DataView(bytes, BLOCK);
  values.forEach((value, i) => view.setFloat32(4 * i, value));
  return new Response(bytes, { headers: { "content-type": "application/fits" } });
}
