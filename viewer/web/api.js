// What the viewer's server is asked, and how its refusals are told.

/** The answer to a request, from its JSON; an Error tells people why there is none. */
export async function api(path, options) {
  const answer = await fetch(path, options).catch((error) => {
    throw new Error(`The server does not answer (${error.message}).`);
  });
  const found = await answer.json().catch(() => null);
  if (answer.ok && found) return found;
  // whoever could open the page knew the token of then
  if (answer.status === 401) throw new Error("The server asks for its token again: reload the page.");
  throw new Error(found?.error ?? `The server answers ${answer.status}, with nothing that can be read.`);
}
