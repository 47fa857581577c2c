// Slow rendering leaves time for everything else.
//
// Without a GPU a frame takes a fifth of a second, Aladin Lite renders frames continuously, and browsers
// give them priority. So the next frame is requested only after a pause that is as long as the frame
// took. This module must be imported before Aladin Lite, so that it uses this requestAnimationFrame.

/** The browser's requestAnimationFrame, without a pause: for code that renders nothing itself. */
export const nextFrame = window.requestAnimationFrame.bind(window);

const SLOW = 40; // milliseconds
const { port1, port2 } = new MessageChannel();
const drawings = { last: 0, wanted: new Set() };
let frameBegun = 0;
let frameTook = 0;
port1.onmessage = () => (frameTook = performance.now() - frameBegun);

window.requestAnimationFrame = function requestAnimationFrame(draw) {
  const id = ++drawings.last;
  const ask = () => nextFrame((now) => {
    if (!drawings.wanted.delete(id)) return;
    frameBegun = performance.now();
    // received after the frame has been rendered
    port2.postMessage(null);
    draw(now);
  });
  drawings.wanted.add(id);
  if (frameTook > SLOW) setTimeout(ask, frameTook);
  else ask();
  return id;
};

window.cancelAnimationFrame = (id) => drawings.wanted.delete(id);
