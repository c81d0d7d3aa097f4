// Database connections by role, with their limits.

import { get } from './api.js';
import { meter } from './bar.js';
import { h } from './dom.js';
import { table } from './table.js';
import { number } from './words.js';

const inUse = ({ role, limit, in_use: used }) => (limit ? meter({ value: used, max: limit, label: `Connections of ${role}` }) : `${number(used)}, no limit`);

const total = ({ max, in_use: used }) => h('div', { class: 'total', 'data-key': 'total' }, h('span', {}, 'All roles'), meter({ value: used, max, label: 'Connections of all roles' }));

// The API omits it if the platform's owner may not see the activity of sessions.
const activity = (row, figure) => (row.active === undefined ? '–' : number(figure));

/** For the overview. */
export const connectionRows = (connections) => [
  h('table', { 'data-key': 'roles' },
    h('caption', { class: 'hush' }, 'Connections by role'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Role'), h('th', { scope: 'col' }, 'In use'))),
    h('tbody', {}, connections.roles.map((row) => h('tr', { 'data-key': row.role }, h('th', { scope: 'row' }, row.role), h('td', {}, inUse(row)))))),
  total(connections),
];

export const connections = {
  name: 'connections',
  title: 'Connections',
  open(page) {
    page.live((signal) => get('/admin/v1/connections', { signal }), (answer) => page.show(
      h('div', { class: 'panel', 'data-key': 'sum' }, total(answer)),
      table({
        id: 'connections',
        caption: 'Database connections by role',
        hush: true,
        columns: [
          { head: 'Role', show: (row) => row.role },
          { head: 'In use of its limit', look: 'wide', show: inUse },
          { head: 'Limit', look: 'figure', show: (row) => (row.limit ? number(row.limit) : 'none') },
          { head: 'In use', look: 'figure', show: (row) => number(row.in_use) },
          { head: 'Active', look: 'figure', show: (row) => activity(row, row.active) },
          { head: 'Idle', look: 'figure low', show: (row) => activity(row, row.in_use - row.active) },
        ],
        rows: answer.roles,
        key: (row) => row.role,
      }),
      h('p', { class: 'hint', 'data-key': 'hint' }, 'Active connections run a statement now; idle ones wait for the next.')));
  },
};
