// Elements of the page, made in one line each.

/** Make an element: attributes, listeners (on…), then children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** What there is room for where several surveys are told apart. */
export function shortName({ band, plane, title }) {
  return [band || title, band && plane].filter(Boolean).join(" ");
}

/** A labelled control in a row of two columns. */
export function row(text, control) {
  return make("label", { class: "row" }, make("span", {}, text), control);
}

/** A button that says what it does. */
export function button(text, act, attributes = {}) {
  return make("button", { type: "button", class: "quiet", onclick: act, ...attributes }, text);
}

/** A button that copies a text and says so; without https there is no clipboard: it shows the text. */
export function copyButton(label, text) {
  const made = button(label, async () => {
    try {
      await navigator.clipboard.writeText(text);
      made.textContent = "Copied";
      setTimeout(() => (made.textContent = label), 1500);
    } catch {
      made.replaceWith(make("code", {}, text));
    }
  }, { title: text });
  return made;
}

/** What the browser keeps for us under a key; null for nothing, or where it keeps nothing. */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Have the browser keep something; false where it does not. */
export function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Hand a file to the browser. */
export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
