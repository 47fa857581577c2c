// FITS tiles as the server sends them: plain images, read at single pixels.

const BLOCK = 2880;
const READERS = {
  8: (view, i) => view.getUint8(i),
  16: (view, i) => view.getInt16(2 * i),
  32: (view, i) => view.getInt32(4 * i),
  64: (view, i) => Number(view.getBigInt64(8 * i)),
  "-32": (view, i) => view.getFloat32(4 * i),
  "-64": (view, i) => view.getFloat64(8 * i),
};

/** Cards of the header at `offset`, and where its data begin. */
export function readHeader(buffer, offset = 0) {
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

function cardValue(text) {
  const quoted = text.match(/^\s*'((?:[^']|'')*)'/);
  if (quoted) return quoted[1].trimEnd();
  const bare = text.split("/")[0].trim();
  return bare === "T" ? true : bare === "F" ? false : Number(bare);
}

/** One tile. A compressed one has no image in its primary HDU: it cannot be read here. */
export class FitsTile {
  constructor(buffer) {
    const { cards, data } = readHeader(buffer);
    this.width = cards.NAXIS1;
    this.read = cards.NAXIS >= 2 ? READERS[cards.BITPIX] : undefined;
    this.view = new DataView(buffer, Math.min(data, buffer.byteLength));
    this.blank = cards.BITPIX > 0 ? cards.BLANK : undefined;
    this.scale = cards.BSCALE ?? 1;
    this.zero = cards.BZERO ?? 0;
  }

  /** The physical value, NaN where there is none; row 0 is at the bottom. */
  at(row, column) {
    if (!this.read) throw new Error("a compressed tile");
    const stored = this.read(this.view, row * this.width + column);
    return stored === this.blank ? NaN : stored * this.scale + this.zero;
  }

  /** All physical values, row 0 at the bottom. */
  floats() {
    this.values ??= this.all(Float32Array, (row, column) => this.at(row, column));
    return this.values;
  }

  /** All numbers as they are stored, for flags. */
  integers() {
    this.stored ??= this.all(Int32Array, (row, column) => this.read(this.view, row * this.width + column));
    return this.stored;
  }

  all(Kind, at) {
    if (!this.read) throw new Error("a compressed tile");
    const found = new Kind(this.width * this.width);
    for (let i = 0; i < found.length; i++) found[i] = at(Math.floor(i / this.width), i % this.width);
    return found;
  }
}

/** The last tiles that were asked for; the browser's own cache has most of them. */
export class TileCache {
  constructor(limit = 48) {
    this.limit = limit;
    this.tiles = new Map();
  }

  /** A promise of the tile, or of null where the survey has none. */
  get(url) {
    const known = this.tiles.get(url) ?? fetchTile(url);
    this.tiles.delete(url);
    this.tiles.set(url, known);
    known.catch(() => this.tiles.delete(url));
    if (this.tiles.size > this.limit) this.tiles.delete(this.tiles.keys().next().value);
    return known;
  }
}

/** Of all who look at values. */
export const tiles = new TileCache(96);

async function fetchTile(url) {
  const answer = await fetch(url);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return new FitsTile(await answer.arrayBuffer());
}
