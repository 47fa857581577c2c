// All that is on the screen, as the part of the address behind #: a copied link shows the same picture.
//
//   survey=band_r&ra=…&dec=…&fov=…       what is shown, and where
//   over=band_i:0.5,band_g:0.3           stacked, with opacity
//   look.band_r=fits,log,-5,300,viridis,1    format, stretch, cuts, colors, inverted; if not as at first
//   mode=swipe&with=band_i&at=0.4        compared: swipe, blink (turned=1: the other is seen), 2 or 4 views
//   show=grid,patches,coverage,flags     overlays
//   mask.mask_r=SAT,CR                   painted planes
//   colour=band_i,band_r,band_g,8,500,0,0,0,1,1,1    live color: red, green, blue; Q, span; black; gain
//   here=150.1,2.2                       the place that was clicked; in here.of=band_i, if not the first view's
//   region=circle,150.1,2.2,10           what is measured
//   objects.NAME=filter                  a catalog, with its filter
//   lock=1                               the same cuts for all bands

const KINDS = { circle: ["ra", "dec", "radius"], box: ["ra", "dec", "width", "height"], line: ["ra", "dec", "ra2", "dec2"] };

/** What a Viewer's state is called in the address. */
export function toHash(state) {
  const { view } = state;
  const words = new URLSearchParams({
    survey: state.survey, ra: view.ra.toFixed(6), dec: view.dec.toFixed(6), fov: view.fov.toPrecision(4),
  });
  const put = (key, value) => value !== "" && value != null && words.set(key, value);
  put("over", state.over.map(([name, opacity]) => `${name}:${Number(opacity.toFixed(2))}`).join());
  for (const [name, look] of state.looks) {
    put(`look.${name}`, [look.format, look.stretch, short(look.low), short(look.high), look.colormap, Number(look.reversed)].join());
  }
  if (state.mode !== "single") {
    put("mode", state.mode);
    put("with", state.others.join());
    if (state.mode === "swipe") put("at", state.swipe.toFixed(3));
    if (state.turned) put("turned", "1");
  }
  put("show", state.shown.join());
  for (const [name, planes] of state.masks) put(`mask.${name}`, planes.join());
  if (state.liveColor) {
    const { parts, q, span, low, gain } = state.liveColor;
    put("colour", [...parts, ...[q, span, ...low, ...gain].map((one) => short(one))].join());
  }
  if (state.here) put("here", state.here.map((one) => one.toFixed(7)).join());
  if (state.here) put("here.of", state.hereOf);
  if (state.region) put("region", [state.region.kind, ...KINDS[state.region.kind].map((key) => short(state.region[key], 9))].join());
  for (const [name, filter] of state.objects) words.set(`objects.${name}`, filter);
  if (state.lock) put("lock", "1");
  return words.toString();
}

/** The state that an address tells of; what it says nothing of, or nonsense, is left out. */
export function fromHash(text) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  const state = { survey: words.get("survey"), view: viewIn(words), looks: [], masks: [], objects: [] };
  state.over = list(words.get("over")).map((one) => one.split(":")).map(([name, opacity]) => [name, within(Number(opacity), 0, 1, 0.5)]);
  state.mode = ["swipe", "blink", "2", "4"].includes(words.get("mode")) ? words.get("mode") : "single";
  state.others = list(words.get("with"));
  state.swipe = within(Number(words.get("at") ?? 0.5), 0.02, 0.98, 0.5);
  state.shown = list(words.get("show"));
  state.lock = words.get("lock") === "1";
  state.turned = words.get("turned") === "1";
  state.here = numbers(words.get("here"), 2);
  state.hereOf = words.get("here.of");
  const [kind, ...rest] = list(words.get("region"));
  const values = KINDS[kind] && numbers(rest.join(), KINDS[kind].length);
  state.region = values ? { kind, ...Object.fromEntries(KINDS[kind].map((key, i) => [key, values[i]])) } : null;
  const liveColor = list(words.get("colour"));
  const levels = liveColor.length === 11 && numbers(liveColor.slice(3).join(), 8);
  state.liveColor = levels
    ? { parts: liveColor.slice(0, 3), q: levels[0], span: levels[1], low: levels.slice(2, 5), gain: levels.slice(5) }
    : null;
  for (const [key, value] of words) {
    const [what, name] = [key.slice(0, key.indexOf(".")), key.slice(key.indexOf(".") + 1)];
    if (what === "look") state.looks.push([name, lookIn(value)]);
    if (what === "mask") state.masks.push([name, list(value)]);
    if (what === "objects") state.objects.push([name, value]);
  }
  state.looks = state.looks.filter(([, look]) => look);
  return state;
}

function viewIn(words) {
  const [ra, dec, fov] = ["ra", "dec", "fov"].map((key) => Number.parseFloat(words.get(key)));
  const isWhole = Math.abs(dec) <= 90 && Number.isFinite(ra) && fov > 0;
  return isWhole ? { ra, dec, fov } : null;
}

function lookIn(text) {
  const [format, stretch, low, high, colormap, reversed] = text.split(",");
  const cuts = { low: Number(low), high: Number(high) };
  return cuts.low < cuts.high ? { format, stretch, ...cuts, colormap, reversed: reversed === "1" } : null;
}

function list(text) {
  return text ? text.split(",").filter(Boolean) : [];
}

function numbers(text, count) {
  const found = list(text).map(Number);
  return found.length === count && found.every(Number.isFinite) ? found : null;
}

function within(value, low, high, otherwise) {
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

function short(value, digits = 7) {
  return String(Number(value.toPrecision(digits)));
}
