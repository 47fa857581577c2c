// Requests to the viewer's server, and messages for its errors.

/** Return the JSON of a response; throws an Error with a message for users, and `found`, the JSON of the error. */
export async function api(path, options) {
  const answer = await fetch(path, options).catch((error) => {
    throw new Error(`The server does not respond (${error.message}).`);
  });
  const found = await answer.json().catch(() => null);
  if (answer.ok && found) return found;
  // the page was opened with a token that is no longer valid
  if (answer.status === 401) throw new Error("The server requires its token again: reload the page.");
  const message = found?.error ?? `The server responded with status ${answer.status} and no message.`;
  throw Object.assign(new Error(message), { found });
}
