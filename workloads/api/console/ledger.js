// The ledger.

import { get, withQuery } from './api.js';
import { h } from './dom.js';
import { PAGE, pager, table } from './table.js';
import { shortId, signed, time } from './words.js';

const KIND = { grant: 'grant', charge: 'charge', refund: 'refund' };

const amount = ({ amount: value }) => h('span', { class: value < 0 ? 'minus' : 'plus' }, signed(value));

const COLUMNS = [
  { head: 'When', show: (entry) => time(entry.at) },
  { head: 'Kind', show: (entry) => KIND[entry.kind] ?? entry.kind },
  { head: 'Credits', look: 'figure', show: amount },
  { head: 'Reason', look: 'wrap', show: (entry) => entry.reason },
];
const JOB = { head: 'Job', look: 'code', show: ({ job }) => (job ? h('a', { href: `#/jobs/${job}`, title: job }, shortId(job)) : '') };

/** The entries of one job, which have no ids and need no links to it. */
export const jobLedger = (rows) =>
  table({ id: 'ledger', caption: 'Credits', columns: COLUMNS, rows, key: (entry) => `${entry.kind}-${entry.at}`, empty: 'No charges.' });

/** A page of a tenant's ledger, with links to other pages. */
export const ledgerPage = ({ entries, next_cursor: next }, { cursor, link, hush = false }) => [
  table({ id: 'ledger', caption: 'Ledger', hush, columns: [...COLUMNS, JOB], rows: entries, key: (entry) => entry.id, empty: 'No entries yet.' }),
  pager({ label: 'ledger', cursor, next, link }),
];

export const loadLedger = (path, cursor, signal) => get(withQuery(path, { cursor, limit: PAGE }), { signal });

export const ledger = {
  name: 'ledger',
  title: 'Ledger',
  open(page) {
    let current;
    page.requery = () => {
      current?.abort();
      current = new AbortController();
      const signal = AbortSignal.any([page.signal, current.signal]);
      const cursor = page.query.get('cursor') ?? '';
      page.live(() => loadLedger('/v1/ledger', cursor, signal), (answer) => page.show(
        ledgerPage(answer, { cursor, hush: true, link: (to) => withQuery('#/ledger', { cursor: to }) })), { signal, until: () => cursor !== '' });
    };
    page.requery();
  },
};
