// In a frame of a notebook: executes the kernel's commands, and reports the state of the page.

const MAX_PAUSE = 30_000; // milliseconds between requests to a kernel that does not respond
const MAX_FAILURES = 4; // failed requests until a message is shown

/** Request commands, execute them and report the state, until the kernel closes the frame. */
export async function followKernel(viewer, name) {
  const address = `api/frames/${encodeURIComponent(name)}`;
  let seen = 0;
  for (let failures = 0; ; ) {
    try {
      const answer = await fetch(`${address}?seen=${seen}`, { cache: "no-store" });
      if (answer.status === 404) return ended(viewer);
      const { number, wish, pause: wait } = await answer.json();
      failures = 0;
      if (number > seen) {
        const state = await done(viewer, wish).catch((error) => ({ error: String(error?.message ?? error) }));
        seen = number;
        await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ number, state }) });
      }
      if (wait) await pause(wait * 1000);
    } catch {
      failures += 1;
      if (failures === MAX_FAILURES) ended(viewer);
      await pause(Math.min(MAX_PAUSE, 500 * 2 ** failures));
    }
  }
}

/** Execute a command (another survey or position); return the state after everything has been loaded. */
async function done(viewer, { survey, ra, dec, fov }) {
  if (survey) {
    await viewer.select(survey);
    if (viewer.base.name !== survey) throw new Error(`the page cannot show ${survey}`);
  }
  if (ra !== undefined) viewer.visitPlace({ ra, dec, fov });
  else if (fov) viewer.visitPlace({ ...viewer.sky.view(), fov });
  const told = await settled(viewer);
  const { here, region } = viewer;
  const { region: _, ...measured } = viewer.measuring.found ?? {};
  return {
    survey: viewer.base.name, url: viewer.link(), ...viewer.sky.view(),
    selection: here && { ra: here[0], dec: here[1], survey: told?.survey ?? viewer.base.name, coadds: told?.coadds ?? [], problem: told?.problem ?? "" },
    region: region && { ...region, ...measured }, flags: viewer.flags.store.flags,
  };
}

/** Wait for all requests, including those made meanwhile; return the result of the last click. */
async function settled(viewer) {
  const asked = () => [viewer.work, viewer.measuring.work, viewer.inspected];
  let before, told;
  do {
    before = asked();
    [, , told] = await Promise.all(before);
  } while (asked().some((one, i) => one !== before[i]));
  return told;
}

function ended(viewer) {
  viewer.tell("The notebook is no longer connected", "Its kernel may have stopped: run the cell again.");
}

function pause(milliseconds) {
  return new Promise((over) => setTimeout(over, milliseconds));
}
