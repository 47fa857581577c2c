// In a frame of a notebook: does what the kernel wishes, and tells it what is on the screen.

const LONGEST = 30_000; // milliseconds between questions to a kernel that does not answer
const TOLD = 4; // failures, until the page says so

/** Ask for wishes, do them, tell; until the kernel closes the frame. */
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
      if (failures === TOLD) ended(viewer);
      await pause(Math.min(LONGEST, 500 * 2 ** failures));
    }
  }
}

/** Do a wish: another survey, another place. What is on the screen then, with all that was asked for there. */
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

/** When all that was asked for is there, also what was asked for meanwhile: what the last click told. */
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
  viewer.tell("The notebook has let go of this page", "What it shows may no longer be there: run the cell again.");
}

function pause(milliseconds) {
  return new Promise((over) => setTimeout(over, milliseconds));
}
