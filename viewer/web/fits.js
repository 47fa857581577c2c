// FITS tiles as the server sends them: plain images, read at single pixels.

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
 * Cards of the header at `offset`, and where its data begin.
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

/** One tile. A compressed one has no image in its primary HDU: it cannot be read here. */
export class FitsTile {
  /** @type {Float32Array | undefined} */
  #values;
  /** @type {Int32Array | undefined} */
  #stored;

  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    const { cards, data } = readHeader(buffer);
    const bitpix = Number(cards.BITPIX);
    this.width = Number(cards.NAXIS1);
    this.reader = Number(cards.NAXIS) >= 2 ? READERS[bitpix] : undefined;
    this.view = new DataView(buffer, Math.min(data, buffer.byteLength));
    this.blank = bitpix > 0 ? cards.BLANK : undefined;
    this.scale = Number(cards.BSCALE ?? 1);
    this.zero = Number(cards.BZERO ?? 0);
  }

  /** Reads the pixel of a number, as it is stored. */
  get read() {
    if (!this.reader) throw new Error("a compressed tile");
    return this.reader;
  }

  /**
   * The physical value, NaN where there is none; row 0 is at the bottom.
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

  /** All physical values, row 0 at the bottom. */
  floats() {
    const { read, view } = this;
    this.#values ??= new Float32Array(this.width ** 2).map((_, i) => this.physical(read(view, i)));
    return this.#values;
  }

  /** All numbers as they are stored, for flags. */
  integers() {
    const { read, view } = this;
    this.#stored ??= new Int32Array(this.width ** 2).map((_, i) => read(view, i));
    return this.#stored;
  }
}

/** The last tiles that were asked for; the browser's own cache has most of them. */
export class TileCache {
  constructor(limit = 48) {
    this.limit = limit;
    /** @type {Map<string, Promise<FitsTile | null>>} */
    this.tiles = new Map();
  }

  /**
   * A promise of the tile, or of null where the survey has none.
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

/** Of all who look at values. */
export const tiles = new TileCache(96);

/** @param {string} url */
async function fetchTile(url) {
  const answer = await fetch(url);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return new FitsTile(await answer.arrayBuffer());
}
