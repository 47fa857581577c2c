// What draws slowly leaves as much time to all else.
//
// Without a graphics processor a frame takes a fifth of a second, Aladin Lite draws one after the
// other, and a browser does that first. So it is asked for the next one only when as much time has
// gone by. To be imported before Aladin Lite, which takes what it finds.

/** The frame after this one, whatever drawing takes: for what draws nothing itself. */
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
    // heard of when the frame is on its way to the screen
    port2.postMessage(null);
    draw(now);
  });
  drawings.wanted.add(id);
  if (frameTook > SLOW) setTimeout(ask, frameTook);
  else ask();
  return id;
};

window.cancelAnimationFrame = (id) => drawings.wanted.delete(id);
