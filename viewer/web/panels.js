// The panels around the sky, loaded after the first tiles have been drawn.

export { Catalogs } from "./catalogs.js";
export { Comparison } from "./compare.js";
export { FlagPanel } from "./flags.js";
export { coaddCard } from "./coadds.js";
export { LayerPanel } from "./layers.js";
export { Masks } from "./masks.js";
export { Measuring } from "./measuring.js";
export { Panes } from "./panes.js";
