// Workers by their last heartbeat.

import { get } from './api.js';
import { meter } from './bar.js';
import { h } from './dom.js';
import { badge } from './state.js';
import { table } from './table.js';
import { between, mebibytes, plural, time } from './words.js';

/** Seconds without a heartbeat after which a worker is silent. */
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
      const silent = rows.filter(isSilent).length;
      const versions = new Set(rows.map((worker) => worker.version)).size;
      page.show(
        h('p', { class: 'hint', 'data-key': 'sum' },
          `${plural(rows.length, 'worker')}, ${plural(rows.reduce((sum, worker) => sum + worker.running, 0), 'job')} running.`,
          silent > 0 && ` ${plural(silent, 'worker has', 'workers have')} been silent for more than ${SILENT} s.`,
          versions > 1 && ` ${versions} versions are running.`),
        table({
          id: 'workers',
          caption: 'Workers',
          hush: true,
          columns: [
            { head: 'Worker', look: 'code', show: (worker) => worker.name },
            { head: 'State', show: (worker) => badge(stateOf(worker)) },
            { head: 'Last heartbeat', show: (worker) => time(worker.seen_at) },
            { head: 'Kind and pool', show: (worker) => [worker.kind, ' ', h('span', { class: 'hint' }, worker.pool)] },
            { head: 'Slots in use', show: (worker) => meter({ value: worker.running, max: worker.concurrency, label: `Slots of ${worker.name}`, warn: 2 }) },
            { head: 'Memory', show: memory },
            { head: 'Version', look: 'low', show: (worker) => worker.version },
            { head: 'Started', look: 'low', show: (worker) => time(worker.started_at) },
          ],
          rows,
          key: (worker) => worker.name,
          row: (worker) => ({ 'data-state': stateOf(worker) }),
          empty: 'No workers.',
        }));
    });
  },
};
