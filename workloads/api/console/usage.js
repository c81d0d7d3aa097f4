// The usage of the signed-in tenant.

import { get } from './api.js';
import { h } from './dom.js';
import { jobTable } from './jobs.js';
import { against } from './tenants.js';
import { number } from './words.js';

const RECENT = 10;

function panel(usage) {
  return h('section', { class: 'panel', 'data-key': 'usage', 'aria-labelledby': 'usage-title' },
    h('h2', { id: 'usage-title' }, 'Credits and limits'),
    h('p', { class: 'score' }, h('strong', { id: 'credits' }, number(usage.credits)), ` ${usage.credits === 1 ? 'credit' : 'credits'} left`),
    h('dl', { class: 'details' },
      h('div', {}, h('dt', {}, 'Running'), h('dd', {}, against(usage.running, usage.running_limit, 'Running analyses'))),
      h('div', {}, h('dt', {}, 'Today (UTC)'), h('dd', {}, against(usage.today, usage.daily_limit, 'Analyses today'))),
      h('div', {}, h('dt', {}, 'Tier'), h('dd', {}, usage.tier)),
      h('div', {}, h('dt', {}, 'Ledger'), h('dd', {}, h('a', { href: '#/ledger' }, 'All entries')))));
}

export const usage = {
  name: 'usage',
  title: 'Usage',
  open(page) {
    page.actions(h('a', { class: 'button primary', href: '#/ask', id: 'go-ask' }, 'New analysis'));
    const known = {};
    const follow = (name, path) => page.live((signal) => get(path, { signal }), (answer) => {
      known[name] = answer;
      page.show(
        known.usage && panel(known.usage),
        known.jobs && [
          jobTable(known.jobs.jobs, { caption: 'Latest jobs', hush: false, empty: 'No jobs yet. Request an analysis.' }),
          h('p', { 'data-key': 'all' }, h('a', { href: '#/jobs' }, 'All jobs')),
        ]);
    });
    follow('usage', '/v1/usage');
    follow('jobs', `/v1/jobs?limit=${RECENT}`);
  },
};
