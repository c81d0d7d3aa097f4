// The parts of an analysis, with the times when each waited and ran.

import { h } from './dom.js';
import { badge } from './state.js';
import { table } from './table.js';
import { between, duration, now, shortId } from './words.js';

/** A bar over the time of the analysis: pale while the part waited, full while it ran. */
function span(part, from, to) {
  const whole = Math.max(to - from, 1);
  const at = (moment) => Math.min(1, Math.max(0, (moment - from) / whole));
  const made = at(Date.parse(part.created_at));
  const started = part.started_at ? at(Date.parse(part.started_at)) : undefined;
  const ended = part.finished_at ? at(Date.parse(part.finished_at)) : at(to);
  const bar = (look, begin, end) => h('span', { class: look, 'data-key': look, vars: { '--x': `${begin * 100}%`, '--w': `${Math.max(end - begin, 0.004) * 100}%` } });
  const words = [
    `waited ${duration(between(part.created_at, part.started_at ?? part.finished_at))}`,
    part.started_at && `ran ${duration(between(part.started_at, part.finished_at))}`,
  ].filter(Boolean).join(', ');
  return h('div', { class: 'gantt' },
    h('div', { class: `gantt-line state-${part.state}`, 'aria-hidden': 'true' },
      bar('waited', made, started ?? ended),
      started !== undefined && bar('ran', started, ended)),
    h('span', { class: 'gantt-words' }, words));
}

const columns = (from, to, failed) => [
  { head: 'Part', show: (part) => part.kind },
  { head: 'State', show: (part) => badge(part.state) },
  { head: 'Time within the analysis', look: 'wide', show: (part) => span(part, from, to) },
  { head: 'Attempt', look: 'figure mid', show: (part) => String(part.attempt) },
  { head: 'Worker', look: 'code low', show: (part) => part.worker ?? '–' },
  ...(failed ? [{ head: 'Error', show: (part) => (part.error ? h('span', { class: 'code bad', title: part.error.message }, part.error.code) : '') }] : []),
  { head: 'Id', look: 'code mid', show: (part) => h('span', { title: part.id }, shortId(part.id)) },
];

export function partsTable(job, parts) {
  const from = Date.parse(job.created_at);
  const to = job.finished_at ? Date.parse(job.finished_at) : now();
  return table({
    id: 'parts',
    caption: 'Parts',
    columns: columns(from, to, parts.some((part) => part.error)),
    rows: parts,
    key: (part) => part.id,
    empty: 'No parts yet: they are created when the profile has been fetched.',
  });
}
