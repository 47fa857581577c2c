// Functions that create elements of the page.

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

/** Return a short name that distinguishes a survey from others. */
export function shortName({ band, plane, title }) {
  return [band || title, band && plane].filter(Boolean).join(" ");
}

/** Make a labeled control in a row of two columns. */
export function row(text, control) {
  return make("label", { class: "row" }, make("span", {}, text), control);
}

/** Make a button with a text. */
export function button(text, act, attributes = {}) {
  return make("button", { type: "button", class: "quiet", onclick: act, ...attributes }, text);
}

/** Make a button that copies a text and confirms it; without https there is no clipboard, so it shows the text. */
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

/** Return the stored value of a key; null if there is none, or if the browser's storage is disabled. */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Store a value in the browser; return false if its storage is disabled or full. */
export function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Let the browser download a file. */
export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
