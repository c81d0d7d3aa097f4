// Bars: a part of a whole, and a whole made of parts.

import { h } from './dom.js';
import { number } from './words.js';

const share = (value, max) => `${max > 0 ? Math.min(100, (100 * value) / max) : 0}%`;

/** The used part of `max`, marked from the share `warn` on. */
export const meter = ({ value, max, label, text = `${number(value)} of ${number(max)}`, look = '', warn = 0.9 }) =>
  h('div', { class: `meter ${look} ${max > 0 && value / max >= warn ? 'high' : ''}` },
    h('div', { class: 'track', role: 'meter', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': max, 'aria-valuenow': Math.min(value, max), 'aria-valuetext': text },
      h('span', { class: 'fill', vars: { '--w': share(value, max) } })),
    h('span', { class: 'meter-text' }, text));

/** Progress in percent. */
export const progress = ({ value, label, state }) =>
  h('div', { class: `progress state-${state}` },
    h('div', { class: 'track', role: 'progressbar', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': value },
      h('span', { class: 'fill', vars: { '--w': share(value, 100) } })),
    h('span', { class: 'meter-text' }, `${value} %`));

/** Parts `[name, value, class]` against `max`, with a mark where `limit` lies. */
export function stack({ parts, max, limit, label }) {
  const words = parts.map(([name, value]) => `${number(value)} ${name}`).join(', ');
  return h('div', { class: 'track stack', role: 'img', 'aria-label': `${label}: ${words}`, title: words },
    parts.map(([name, value, look]) => value > 0 && h('span', { class: `fill ${look}`, 'data-key': name, vars: { '--w': share(value, max) } })),
    limit !== undefined && h('span', { class: 'limit', 'data-key': 'limit', vars: { '--w': share(limit, max) } }));
}

/** Shares of one, each on a line: `[[name, share, text]]`. */
export const shares = (caption, rows) =>
  h('table', { class: 'shares' },
    h('caption', {}, caption),
    h('tbody', {}, rows.map(([name, value, text]) =>
      h('tr', { 'data-key': name },
        h('th', { scope: 'row' }, name),
        h('td', { class: 'wide' }, h('div', { class: 'track', 'aria-hidden': 'true' }, h('span', { class: 'fill', vars: { '--w': share(value, 1) } }))),
        h('td', { class: 'figure' }, text)))));
