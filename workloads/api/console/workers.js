// Workers that have been heard of.

import { get } from './api.js';
import { meter } from './bar.js';
import { h } from './dom.js';
import { badge } from './state.js';
import { table } from './table.js';
import { between, mebibytes, plural, time } from './words.js';

/** Seconds without a sign of life after which something is wrong. */
const SILENT = 30;

export const isSilent = (worker) => between(worker.seen_at) > SILENT;

const stateOf = (worker) => (isSilent(worker) ? 'silent' : worker.draining ? 'draining' : 'working');

const memory = ({ name, memory_bytes: used, memory_limit_bytes: limit }) =>
  limit
    ? meter({ value: used, max: limit, label: `Memory of ${name}`, text: `${mebibytes(used)} of ${mebibytes(limit)} MiB`, look: 'long' })
    : `${mebibytes(used)} MiB, no limit`;

export const workers = {
  name: 'workers',
  title: 'Workers',
  open(page) {
    page.live((signal) => get('/admin/v1/workers', { signal }), ({ workers: rows }) => {
      const ill = rows.filter(isSilent).length;
      const versions = new Set(rows.map((worker) => worker.version)).size;
      page.show(
        h('p', { class: 'hint', 'data-key': 'sum' },
          `${plural(rows.length, 'worker')}, ${plural(rows.reduce((sum, worker) => sum + worker.running, 0), 'job')} in hand.`,
          ill > 0 && ` ${plural(ill, 'worker has', 'workers have')} been silent for more than ${SILENT} s.`,
          versions > 1 && ` ${versions} versions run side by side.`),
        table({
          id: 'workers',
          caption: 'Workers',
          hush: true,
          columns: [
            { head: 'Worker', look: 'code', show: (worker) => worker.name },
            { head: 'State', show: (worker) => badge(stateOf(worker)) },
            { head: 'Last sign', show: (worker) => time(worker.seen_at) },
            { head: 'Kind and pool', show: (worker) => [worker.kind, ' ', h('span', { class: 'hint' }, worker.pool)] },
            { head: 'Slots in use', show: (worker) => meter({ value: worker.running, max: worker.concurrency, label: `Slots of ${worker.name}`, warn: 2 }) },
            { head: 'Memory', show: memory },
            { head: 'Version', look: 'low', show: (worker) => worker.version },
            { head: 'Started', look: 'low', show: (worker) => time(worker.started_at) },
          ],
          rows,
          key: (worker) => worker.name,
          row: (worker) => ({ 'data-state': stateOf(worker) }),
          empty: 'No worker has been heard of.',
        }));
    });
  },
};
