// Jobs: filters and pages, newest first.

import { Problem, get, withQuery } from './api.js';
import { progress } from './bar.js';
import { h } from './dom.js';
import { learn, tenantLink } from './names.js';
import { announce } from './say.js';
import { session } from './session.js';
import { LANES, STATES, badge, isFinal } from './state.js';
import { PAGE, pager, table } from './table.js';
import { between, duration, shortId, time } from './words.js';

const PAUSE = 300;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The progress, or the error of a dead job. */
const standing = (job) => (job.state === 'dead' && job.error
  ? h('span', { class: 'code bad', title: job.error.message }, job.error.code)
  : progress({ value: job.progress, label: `Progress of ${job.username}`, state: job.state }));

const columns = () => [
  { head: 'Profile', look: 'name', show: (job) => h('a', { href: `#/jobs/${job.id}`, title: job.username }, job.username) },
  { head: 'State', show: (job) => badge(job.state) },
  { head: 'Progress', show: standing },
  { head: 'Stage', look: 'mid', show: (job) => (isFinal(job.state) ? '' : job.stage ?? '') },
  { head: 'Lane', look: 'low', show: (job) => job.lane },
  ...(session.admin ? [{ head: 'Tenant', look: 'low name', show: (job) => tenantLink(job.tenant) }] : []),
  { head: 'Attempt', look: 'figure mid', show: (job) => String(job.attempt) },
  { head: 'Created', look: 'figure', show: (job) => time(job.created_at) },
  { head: 'Duration', look: 'figure low', show: (job) => duration(between(job.created_at, job.finished_at)) },
  { head: 'Job', look: 'code mid', show: (job) => h('span', { title: job.id }, shortId(job.id)) },
];

/** A table of jobs, for this view and that of usage. */
export const jobTable = (rows, { id = 'jobs', caption = 'Jobs', hush = true, empty } = {}) =>
  table({ id, caption, hush, columns: columns(), rows, key: (job) => job.id, row: (job) => ({ 'data-state': job.state }), empty });

const select = (id, label, values, words) =>
  h('div', { class: 'field' },
    h('label', { for: id }, label),
    h('select', { id }, h('option', { value: '' }, words), values.map((value) => h('option', { value }, value))));

/** The id of the tenant in a filter, which is an id or the prefix of a name. */
async function tenantOf(words, signal) {
  if (!words || UUID.test(words)) return words;
  const { tenants } = await get(withQuery('/admin/v1/tenants', { search: words, limit: 2 }), { signal });
  if (tenants.length === 0) throw new Problem(`No tenant’s name begins with “${words}”.`, { status: 404 });
  const exact = tenants.filter(({ name }) => name.toLowerCase() === words.toLowerCase());
  if (tenants.length > 1 && exact.length !== 1) throw new Problem(`Several tenants’ names begin with “${words}”. Enter more of the name, or the id.`, { status: 404 });
  return (exact[0] ?? tenants[0]).id;
}

function filters(page, go) {
  const search = h('input', { id: 'search', type: 'search', placeholder: 'Job id or start of a username', maxlength: '64', spellcheck: 'false', autocomplete: 'off' });
  const tenant = h('input', { id: 'filter-tenant', type: 'text', placeholder: 'Name or id', maxlength: '200', spellcheck: 'false', autocomplete: 'off' });
  const discovered = h('input', { id: 'filter-discovered', type: 'checkbox' });
  const form = h('form', { class: 'filters', role: 'search', 'aria-label': 'Find jobs' },
    h('div', { class: 'field grow' }, h('label', { for: 'search' }, 'Search'), search),
    select('filter-state', 'State', STATES, 'any state'),
    select('filter-lane', 'Lane', LANES, 'any lane'),
    session.admin && h('div', { class: 'field' }, h('label', { for: 'filter-tenant' }, 'Tenant'), tenant),
    h('label', { class: 'check', title: 'Include the analyses of discovered profiles' }, discovered, 'Discovered too'),
    h('button', { id: 'clear-filters', type: 'reset', class: 'quiet' }, 'Clear'));
  const state = form.querySelector('#filter-state');
  const lane = form.querySelector('#filter-lane');
  const apply = () => go({ search: search.value.trim(), state: state.value, lane: lane.value, tenant: tenant.value.trim(), discovered: discovered.checked ? 'true' : '' });
  let timer;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(apply, PAUSE);
  };
  page.signal.addEventListener('abort', () => clearTimeout(timer));
  // The API requires three characters without a tenant; fewer are not an error while the user
  // types.
  const tooShort = () => session.admin && !tenant.value.trim() && [1, 2].includes(search.value.trim().length);
  search.addEventListener('input', () => (tooShort() ? clearTimeout(timer) : soon()));
  tenant.addEventListener('input', soon);
  for (const control of [state, lane, discovered]) control.addEventListener('change', apply);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(timer);
    apply();
  });
  form.addEventListener('reset', () => setTimeout(apply));
  return {
    form,
    /** Shows the filters of the address, except in the focused field. */
    set(query) {
      for (const [control, name] of [[search, 'search'], [state, 'state'], [lane, 'lane'], [tenant, 'tenant']]) {
        if (control !== document.activeElement) control.value = query.get(name) ?? '';
      }
      discovered.checked = query.get('discovered') === 'true';
    },
  };
}

export const jobs = {
  name: 'jobs',
  title: 'Jobs',
  open(page) {
    const address = (parameters) => withQuery('#/jobs', parameters);
    const filter = () => Object.fromEntries(page.query);
    let current;

    const form = filters(page, (parameters) => {
      if (address(parameters) === address({ ...filter(), cursor: '' })) return;
      location.replace(address(parameters));
    });
    page.tools(form.form);

    page.requery = () => {
      form.set(page.query);
      current?.abort();
      current = new AbortController();
      const signal = AbortSignal.any([page.signal, current.signal]);
      const { cursor = '', ...asked } = filter();
      let announced = false;
      const show = (answer) => {
        if (signal.aborted) return;
        const filtered = Object.keys(asked).length > 0;
        page.show(
          jobTable(answer.jobs, { empty: filtered ? 'No job matches the filters.' : 'No jobs yet.' }),
          pager({ label: 'jobs', cursor, next: answer.next_cursor, link: (to) => address({ ...asked, cursor: to }) }));
        if (filtered && !announced) announce(`${answer.jobs.length}${answer.next_cursor ? ' or more' : ''} jobs found.`);
        announced = true;
      };
      const load = async () => {
        const tenant = await tenantOf(asked.tenant, signal);
        return get(withQuery(session.admin ? '/admin/v1/jobs' : '/v1/jobs', { ...asked, tenant, cursor, limit: PAGE }), { signal });
      };
      page.live(load, async (answer) => {
        show(answer);
        if (session.admin && await learn(answer.jobs.map((job) => job.tenant), signal)) show(answer);
      }, { signal, until: () => cursor !== '' });
    };
    page.requery();
  },
};
