// Tables and their pagination.

import { h } from './dom.js';

/** Items on a page of a list. */
export const PAGE = 50;

/**
 * A table. A column is `{ head, show(row), look?, hushed?, names? }`: `look` are classes of its
 * cells (`figure`: aligned right; `mid`, `low`: not on narrow screens), `hushed` shows its head to
 * screen readers only. `names` marks the row header, which is the first column by default. `hush`
 * shows the caption to screen readers only.
 */
export function table({ id, caption, hush = false, columns, rows, key, row = () => ({}), empty = 'No items.' }) {
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

/** Links to the newest and to the next older page; `link(cursor)` returns an address. */
export const pager = ({ label, cursor, next, link }) =>
  h('nav', { class: 'pager', 'aria-label': `Pages of ${label}`, 'data-key': `pager-${label}` },
    step('newest', 'Newest', cursor ? link('') : undefined),
    step('older', 'Older', next ? link(next) : undefined),
    h('span', { class: 'hint' }, cursor ? 'An older page, which is not updated.' : next ? `The newest ${PAGE}, updated live.` : 'All items, updated live.'));
