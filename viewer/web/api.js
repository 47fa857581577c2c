// Requests to the viewer's server, and messages for its errors.

/** Return the JSON of a response; throws an Error with a message for users, and `found`, the JSON of the error. */
export async function api(path, options) {
  const answer = await request(path, options);
  const found = await answer.json().catch(() => null);
  if (answer.ok && found) return found;
  throw refusal(answer, found);
}

/** Iterate over the lines of JSON of a response as they arrive; throws like `api`. */
export async function* apiLines(path, options) {
  const answer = await request(path, options);
  if (!answer.ok) throw refusal(answer, await answer.json().catch(() => null));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Error("The connection to the server was lost.");
    });
    const lines = (text + (value ?? "")).split("\n");
    text = lines.pop();
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}

function request(path, options) {
  return fetch(path, options).catch((error) => {
    throw new Error(`The server does not respond (${error.message}).`);
  });
}

function refusal(answer, found) {
  // the page was opened with a token that is no longer valid
  if (answer.status === 401) return new Error("The server requires its token again: reload the page.");
  const message = found?.error ?? `The server responded with status ${answer.status} and no message.`;
  return Object.assign(new Error(message), { found });
}
