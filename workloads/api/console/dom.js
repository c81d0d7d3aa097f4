// Creates elements, and patches a tree in place.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    // The content security policy forbids style attributes in markup, but allows properties.
    else if (name === 'vars') for (const [property, to] of Object.entries(value)) node.style.setProperty(property, to);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** Creates an element. `on` holds listeners, `vars` custom properties; the rest are attributes. */
export const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);

/** Creates an SVG element. */
export const svg = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

const keyOf = (node) => node.dataset?.key;

function patchNode(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  for (const { name } of [...have.attributes]) {
    // The user opens and closes details.
    if (name !== 'style' && name !== 'open' && !want.hasAttribute(name)) have.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (name !== 'style' && have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  for (const name of want.style) {
    const value = want.style.getPropertyValue(name);
    if (have.style.getPropertyValue(name) !== value) have.style.setProperty(name, value);
  }
  // A view fills these children itself.
  if (!('kept' in have.dataset)) patchChildren(have, [...want.childNodes]);
}

function patchChildren(parent, fresh) {
  const wanted = new Set(fresh.map(keyOf));
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key === undefined) continue;
    if (wanted.has(key)) keyed.set(key, child);
    else child.remove();
  }
  let at = parent.firstChild;
  for (const want of fresh) {
    const key = keyOf(want);
    const alike = at && keyOf(at) === undefined && at.nodeName === want.nodeName;
    const have = key === undefined ? (alike ? at : undefined) : keyed.get(key);
    if (!have) parent.insertBefore(want, at);
    else {
      if (have === at) at = at.nextSibling;
      else parent.insertBefore(have, at);
      patchNode(have, want);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/**
 * Makes the children of `parent` equal to `fresh` and changes only what differs, so that focus,
 * selection and scroll positions stay. Children with a `data-key` are matched by it, others by
 * position. Patched nodes keep their first listeners: use `data-action`.
 */
export function patch(parent, ...fresh) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : undefined;
  const around = focused?.closest('.scroll');
  const nodes = fresh.flat(Infinity).filter((node) => node !== undefined && node !== null && node !== false);
  patchChildren(parent, nodes.map((node) => (typeof node === 'string' ? document.createTextNode(node) : node)));
  if (!focused || document.activeElement === focused) return;
  const next = focused.isConnected ? focused : around?.isConnected ? around : undefined;
  next?.focus({ preventScroll: true });
}
