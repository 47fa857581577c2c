// What stands around the sky. It is asked for when the first picture is there.

export { Catalogues } from "./catalogues.js";
export { Panes } from "./compare.js";
export { FlagPanel } from "./flags.js";
export { coaddCard } from "./inspect.js";
export { LayerPanel } from "./layers.js";
export { Measuring } from "./measuring.js";
