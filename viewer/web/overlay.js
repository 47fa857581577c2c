// Overlay on the sky: outlines of patches, flags, objects, regions, and the pointer in other views.

const LABEL_SIZE = 44; // pixels: smaller outlines have no label

export class Overlay {
  /** items(): [{kind, ...}], see `draw`. */
  constructor(sky, items) {
    this.sky = sky;
    this.items = items;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "overlay";
    this.canvas.setAttribute("aria-hidden", "true");
    sky.div.append(this.canvas);
    this.last = "";
    const tick = () => {
      if (!this.canvas.isConnected) return;
      this.look();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** Redraw everything. */
  renew() {
    this.last = "";
  }

  look() {
    const box = this.sky.div.getBoundingClientRect();
    const { ra, dec, fov } = this.sky.view();
    const now = [ra, dec, fov, box.width, box.height, devicePixelRatio].join();
    if (now === this.last || !box.width) return;
    this.last = now;
    this.canvas.width = box.width * devicePixelRatio;
    this.canvas.height = box.height * devicePixelRatio;
    const context = this.canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    this.box = box;
    this.corner = corner(box);
    this.labels = [];
    for (const item of this.items()) this.draw(context, item);
  }

  draw(context, item) {
    if (item.kind === "outline") this.outline(context, item);
    else if (item.kind === "points") this.points(context, item);
    else if (item.kind === "cross") this.cross(context, item);
    else if (item.kind === "flag") this.flag(context, item);
  }

  /** {corners: [[ra, dec]], color, label, open, strong} */
  outline(context, { corners, color, label, open, strong }) {
    const found = corners.map(([ra, dec]) => this.sky.pixel(ra, dec));
    if (found.some((one) => !one)) return;
    const xs = found.map(([x]) => x);
    const ys = found.map(([, y]) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    if (right < 0 || bottom < 0 || left > this.box.width || top > this.box.height) return;
    context.beginPath();
    found.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (!open) context.closePath();
    context.strokeStyle = color;
    context.lineWidth = strong ? 2.5 : 1.2;
    context.stroke();
    if (!label || Math.min(right - left, bottom - top) < LABEL_SIZE) return;
    const [x, y] = this.corner;
    const at = [Math.max(left, x < right - LABEL_SIZE ? x : 0) + 6, Math.min(Math.max(top, y) + 15, bottom - 4)];
    while (this.labels.some(([x, y]) => Math.abs(x - at[0]) < 60 && Math.abs(y - at[1]) < 14)) at[1] += 14;
    this.labels.push(at);
    this.text(context, label, at, color);
  }

  text(context, label, [x, y], color) {
    context.font = "600 11px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "#07090ecc";
    context.strokeText(label, x, y);
    context.fillStyle = color;
    context.fillText(label, x, y);
  }

  /** {places: [[ra, dec]], color, chosen} */
  points(context, { places, color, chosen }) {
    context.strokeStyle = color;
    context.lineWidth = 1.4;
    context.beginPath();
    places.forEach(([ra, dec], i) => {
      const at = this.sky.pixel(ra, dec);
      if (!at || at[0] < -9 || at[1] < -9 || at[0] > this.box.width + 9 || at[1] > this.box.height + 9) return;
      const size = i === chosen ? 9 : 5;
      context.moveTo(at[0] + size, at[1]);
      context.arc(at[0], at[1], size, 0, 2 * Math.PI);
    });
    context.stroke();
  }

  /** {ra, dec, color, gap}: a cross with an empty center. */
  cross(context, { ra, dec, color, gap = 5 }) {
    const at = this.sky.pixel(ra, dec);
    if (!at) return;
    const [x, y] = at.map((one) => Math.round(one) + 0.5);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * (gap + 9), y + dy * (gap + 9));
    }
    context.lineWidth = 3.5;
    context.strokeStyle = "#07090eb0";
    context.stroke();
    context.lineWidth = 1.5;
    context.strokeStyle = color;
    context.stroke();
  }

  /** {ra, dec, label} */
  flag(context, { ra, dec, label }) {
    const at = this.sky.pixel(ra, dec);
    if (!at) return;
    const [x, y] = at;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x, y - 18);
    context.lineTo(x + 12, y - 13.5);
    context.lineTo(x, y - 9);
    context.fillStyle = "#ffb86b";
    context.fill();
    context.strokeStyle = "#07090e";
    context.lineWidth = 1;
    context.stroke();
    if (label) this.text(context, label.slice(0, 24), [x + 14, y - 10], "#ffd9b0");
  }
}

/** Return the offset (x, y) of the part of a view that the panels do not cover. */
function corner(box) {
  const edge = (id, side) => document.getElementById(id)?.getBoundingClientRect()[side] ?? 0;
  return [Math.max(0, edge("panel", "right") - box.left), Math.max(0, edge("tools", "bottom") - box.top)];
}
