// Tables of rows, and going from page to page of them.

import { h } from './dom.js';

/** What a page of a listing holds. */
export const PAGE = 50;

/**
 * A table. A column is `{ head, show(row), look?, hushed?, names? }`: `look` are classes of its cells (`figure`: to the right; `mid`, `low`: not on narrow
 * screens), `hushed` hides its head from the eye. One column names the row: the first, unless another one says so. `hush` hides the caption where a heading says the same.
 */
export function table({ id, caption, hush = false, columns, rows, key, row = () => ({}), empty = 'Nothing here.' }) {
  const head = columns.map(({ head: words, look, hushed }) =>
    h('th', { scope: 'col', class: look }, hushed ? h('span', { class: 'hush' }, words) : words));
  const naming = Math.max(0, columns.findIndex(({ names }) => names));
  const body = rows.map((item) => {
    const cells = columns.map(({ show, look }, place) =>
      h(place === naming ? 'th' : 'td', { scope: place === naming ? 'row' : undefined, class: look }, show(item)));
    return h('tr', { 'data-key': key(item), ...row(item) }, cells);
  });
  return h('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: '0', 'data-key': `table-${id}` },
    h('table', { id },
      h('caption', { class: hush ? 'hush' : undefined }, caption),
      h('thead', {}, h('tr', {}, head)),
      h('tbody', {}, body.length ? body : h('tr', { 'data-key': 'empty' }, h('td', { class: 'empty', colspan: columns.length }, empty)))));
}

const step = (id, words, href) => h('a', { id, class: 'button', href, role: href ? undefined : 'link', 'aria-disabled': href ? undefined : 'true' }, words);

/** Links to the newest and to the next older page; `link(cursor)` makes an address. */
export const pager = ({ label, cursor, next, link }) =>
  h('nav', { class: 'pager', 'aria-label': `Pages of ${label}`, 'data-key': `pager-${label}` },
    step('newest', 'Newest', cursor ? link('') : undefined),
    step('older', 'Older', next ? link(next) : undefined),
    h('span', { class: 'hint' }, cursor ? 'An older page; it does not change by itself.' : next ? `The newest ${PAGE}, kept up to date.` : 'All of them, kept up to date.'));
