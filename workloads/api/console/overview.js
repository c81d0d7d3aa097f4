// The state of the platform on one page.

import { get } from './api.js';
import { meter, stack } from './bar.js';
import { connectionRows } from './connections.js';
import { h } from './dom.js';
import { KINDS, LANES, badge } from './state.js';
import { duration, number, percent, plural } from './words.js';
import { isSilent } from './workers.js';

/** Dead letters change seldom, and listing them costs more than the rest. */
const DEAD_EVERY = 15000;
const DEAD_MOST = 100;

const SEGMENTS = [['running', 'running'], ['ready', 'depth'], ['waiting for parts', 'waiting'], ['retrying', 'retrying']];

const grade = (share) => (share >= 0.9 ? 'good' : share >= 0.6 ? 'strained' : 'poor');
const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);

function healthPanel({ score, parts }) {
  const how = grade(score / 100);
  return h('section', { class: 'panel', 'data-key': 'health', 'aria-labelledby': 'health-title' },
    h('h2', { id: 'health-title' }, 'Health'),
    h('p', { class: `score ${how}`, id: 'score' }, h('strong', {}, number(score)), ' of 100: ', how),
    h('ul', { class: 'parts' }, parts.map(({ name, value, detail }) =>
      h('li', { 'data-key': name, class: grade(value) },
        h('span', { class: 'part-name' }, name.replaceAll('-', ' ').replaceAll('_', ' ')),
        h('span', { class: 'part-grade' }, `${percent(value)}, ${grade(value)}`),
        h('span', { class: 'part-words' }, detail)))));
}

function laneBars(rows, workers) {
  const slotsOf = (kind) => sum((workers ?? []).filter((worker) => worker.kind === kind && !worker.draining), 'concurrency');
  const total = (row) => row.depth + row.running + row.waiting + row.retrying;
  const groups = KINDS.map((kind) => {
    const lanes = LANES.map((lane) => rows.find((row) => row.kind === kind && row.lane === lane)).filter(Boolean);
    const slots = workers && slotsOf(kind);
    const max = Math.max(slots ?? 0, ...lanes.map(total), 1);
    return h('div', { class: 'lane-group', 'data-key': kind },
      h('h3', {}, kind, ' ', h('span', { class: 'hint' }, slots === undefined ? '' : `${number(sum(lanes, 'running'))} running, ${plural(slots, 'slot')}`)),
      lanes.map((row) => h('div', { class: 'lane', 'data-key': row.lane },
        h('span', { class: 'lane-name' }, row.lane),
        row.paused && h('span', { class: 'lane-mark', 'data-key': 'paused' }, badge('paused')),
        stack({ label: `${kind}, ${row.lane}`, max, limit: slots, parts: SEGMENTS.map(([name, field]) => [name, row[field], `part-${field}`]) }),
        h('span', { class: 'lane-text' }, row.depth ? `${number(row.depth)} ready, oldest ${duration(row.oldest_age_seconds)}` : total(row) ? `${number(total(row))} unfinished` : 'empty'))));
  });
  return h('section', { class: 'panel', 'data-key': 'lanes', 'aria-labelledby': 'lanes-title' },
    h('h2', { id: 'lanes-title' }, h('a', { href: '#/lanes' }, 'Lanes')),
    h('p', { class: 'legend', 'aria-hidden': 'true' },
      SEGMENTS.map(([name, field]) => h('span', { class: 'legend-item' }, h('span', { class: `swatch part-${field}` }), name)),
      h('span', { class: 'legend-item' }, h('span', { class: 'swatch limit' }), 'slots of the kind’s workers')),
    h('div', { class: 'lane-groups' }, groups));
}

function workersPanel(workers) {
  const rows = KINDS.map((kind) => {
    const of = workers.filter((worker) => worker.kind === kind);
    const unhealthy = [[of.filter((worker) => isSilent(worker)).length, 'silent'], [of.filter((worker) => worker.draining).length, 'draining']];
    const marks = unhealthy.filter(([count]) => count).map(([count, state]) => badge(state, `${number(count)} ${state}`));
    return h('tr', { 'data-key': kind },
      h('th', { scope: 'row' }, kind, h('div', { class: 'marks' }, marks)),
      h('td', { class: 'figure' }, number(of.length)),
      h('td', {}, of.length ? meter({ value: sum(of, 'running'), max: sum(of, 'concurrency'), label: `Slots in use, ${kind}`, warn: 2 }) : 'none'));
  });
  return h('section', { class: 'panel', 'data-key': 'workers' },
    h('h2', {}, h('a', { href: '#/workers' }, 'Workers')),
    h('table', {},
      h('caption', { class: 'hush' }, 'Workers by kind'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Kind'), h('th', { scope: 'col', class: 'figure' }, 'Workers'), h('th', { scope: 'col' }, 'Slots in use'))),
      h('tbody', {}, rows)));
}

const tile = (id, words, value, href, bad) =>
  h('a', { class: bad ? 'tile bad' : 'tile', id: `tile-${id}`, href, 'data-key': id }, h('span', { class: 'tile-name' }, words), h('strong', {}, value));

function tiles({ lanes, dead, workers }) {
  const count = (field) => (lanes ? number(sum(lanes, field)) : '–');
  const silent = workers?.filter((worker) => isSilent(worker)).length;
  return h('div', { class: 'tiles', 'data-key': 'tiles' },
    tile('ready', 'Ready', count('depth'), '#/lanes'),
    tile('running', 'Running', count('running'), '#/jobs?state=running'),
    tile('waiting', 'Waiting for parts', count('waiting'), '#/lanes'),
    tile('retrying', 'Retrying', count('retrying'), '#/jobs?state=retrying'),
    tile('dead', 'Dead letters', dead ? (dead.length >= DEAD_MOST ? `${DEAD_MOST}+` : number(dead.length)) : '–', '#/dead', dead?.length > 0),
    tile('workers', silent ? `Workers, ${silent} silent` : 'Workers', workers ? number(workers.length) : '–', '#/workers', silent > 0));
}

export const overview = {
  name: 'overview',
  title: 'Overview',
  open(page) {
    const known = {};
    const paint = () => {
      const { health, lanes, workers, connections } = known;
      page.show(
        tiles(known),
        lanes && laneBars(lanes, workers),
        h('div', { class: 'panels three', 'data-key': 'panels' },
          health && healthPanel(health),
          workers && workersPanel(workers),
          connections && h('section', { class: 'panel', 'data-key': 'connections' },
            h('h2', {}, h('a', { href: '#/connections' }, 'Database connections')),
            connectionRows(connections))));
    };
    const follow = (name, path, more) => page.live(async (signal) => {
      const answer = await get(path, { signal });
      return answer[name] ?? answer;
    }, (data) => {
      known[name] = data;
      paint();
    }, more);
    follow('health', '/admin/v1/health');
    follow('lanes', '/admin/v1/lanes');
    follow('workers', '/admin/v1/workers');
    follow('connections', '/admin/v1/connections');
    follow('dead', `/admin/v1/dead?limit=${DEAD_MOST}`, { every: DEAD_EVERY });
  },
};
