// Lanes: their queues and rates, pause and resume.

import { get, post } from './api.js';
import { ask } from './dialog.js';
import { h } from './dom.js';
import { say } from './say.js';
import { KINDS, LANES, badge } from './state.js';
import { table } from './table.js';
import { duration, number, perMinute } from './words.js';

const order = (row) => KINDS.indexOf(row.kind) * LANES.length + LANES.indexOf(row.lane);

/** A number; a zero is dimmed. */
const figure = (value, words = number(value)) => (value ? words : h('span', { class: 'zero' }, '0'));

function button({ kind, lane, paused }) {
  const action = paused ? 'resume' : 'pause';
  return h('button', { type: 'button', 'data-action': action, 'data-kind': kind, 'data-lane': lane, 'aria-label': `${paused ? 'Resume' : 'Pause'} ${kind}, ${lane}` }, paused ? 'Resume' : 'Pause');
}

const COLUMNS = [
  { head: 'Kind and lane', show: ({ kind, lane }) => [h('span', { class: 'kind' }, kind), ' ', lane] },
  { head: 'State', show: ({ paused }) => (paused ? badge('paused') : badge('working', 'active')) },
  { head: 'Ready', look: 'figure', show: ({ depth }) => figure(depth) },
  { head: 'Oldest', look: 'figure', show: (row) => (row.depth ? duration(row.oldest_age_seconds) : '–') },
  { head: 'Running', look: 'figure', show: ({ running }) => figure(running) },
  { head: 'Waiting', look: 'figure', show: ({ waiting }) => figure(waiting) },
  { head: 'Retrying', look: 'figure', show: (row) => figure(row.retrying, `${number(row.retrying)}${row.due_soon ? ` (${number(row.due_soon)} soon)` : ''}`) },
  { head: 'In / min', look: 'figure low', show: (row) => figure(row.arrival_rate, perMinute(row.arrival_rate)) },
  { head: 'Out / min', look: 'figure low', show: (row) => figure(row.completion_rate, perMinute(row.completion_rate)) },
  { head: 'Duration', look: 'figure low', show: (row) => (row.service_seconds === undefined ? '–' : duration(row.service_seconds)) },
  { head: 'Action', hushed: true, show: button },
];

export const lanes = {
  name: 'lanes',
  title: 'Lanes',
  open(page) {
    const load = async (signal) => (await get('/admin/v1/lanes', { signal })).lanes.sort((a, b) => order(a) - order(b));
    const show = (rows) => {
      const paused = rows.filter((row) => row.paused).length;
      page.show(
        paused > 0 && h('p', { class: 'notice', 'data-key': 'paused' }, `${paused === 1 ? 'One lane is' : `${paused} lanes are`} paused: workers start no new jobs of ${paused === 1 ? 'it' : 'them'}.`),
        table({
          id: 'lanes',
          caption: 'Lanes by worker kind',
          hush: true,
          columns: COLUMNS,
          rows,
          key: (row) => `${row.kind}-${row.lane}`,
          row: (row) => ({ id: `lane-${row.kind}-${row.lane}`, class: [row.paused && 'row-paused', row.lane === LANES[0] && 'group-start'].filter(Boolean).join(' ') || undefined }),
        }),
        h('p', { class: 'hint', 'data-key': 'hint' }, 'Ready: a worker can claim the job now. Waiting: for its parts. Rates are of the last five minutes; the duration is the mean time that a job occupies a worker’s slot.'));
    };
    const lanesNow = page.live(load, show);

    const set = async ({ kind, lane }, paused) => {
      const done = await ask({
        title: `${paused ? 'Pause' : 'Resume'} ${kind}, ${lane}?`,
        words: paused
          ? 'Workers start no new jobs of the lane until it is resumed. Running jobs continue, and the API still accepts requests.'
          : 'Workers start jobs of the lane again at once.',
        yes: paused ? 'Pause' : 'Resume',
        danger: paused,
        act: () => post(`/admin/v1/lanes/${kind}/${lane}/${paused ? 'pause' : 'resume'}`),
      });
      if (!done) return;
      say(`${kind}, ${lane} is ${paused ? 'paused' : 'resumed'}.`);
      lanesNow.again();
    };
    page.acts.pause = (row) => set(row, true);
    page.acts.resume = (row) => set(row, false);
  },
};
