// The failed attempts of an analysis.

import { h } from './dom.js';
import { table } from './table.js';
import { time } from './words.js';

const COLUMNS = [
  { head: 'Job', show: ({ of }) => of },
  { head: 'Attempt', look: 'figure', show: ({ failure }) => String(failure.attempt) },
  { head: 'When', show: ({ failure }) => time(failure.at) },
  { head: 'Error', look: 'wrap', show: ({ failure }) => [h('span', { class: 'code bad' }, failure.code), ' ', failure.message] },
  { head: 'Kind', show: ({ failure }) => (failure.permanent ? 'permanent' : 'transient') },
];

/** Failed attempts of an analysis and of its parts, oldest first. */
export function failuresTable({ id = 'failures', failures, parts }) {
  const rows = [
    ...failures.map((failure) => ({ of: 'analysis', owner: '', failure })),
    ...parts.flatMap((part) => part.failures.map((failure) => ({ of: part.kind, owner: part.id, failure }))),
  ].sort((a, b) => Date.parse(a.failure.at) - Date.parse(b.failure.at));
  return table({ id, caption: 'Failed attempts', columns: COLUMNS, rows, key: ({ owner, failure }) => `${owner}-${failure.attempt}-${failure.at}`, empty: 'No attempt has failed.' });
}
