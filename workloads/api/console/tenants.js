// Tenants: search and creation.

import { get, post, withQuery } from './api.js';
import { meter } from './bar.js';
import { ask } from './dialog.js';
import { h } from './dom.js';
import { remember } from './names.js';
import { announce, say } from './say.js';
import { TIERS } from './state.js';
import { PAGE, pager, table } from './table.js';
import { number, time } from './words.js';

const PAUSE = 300;

/** The use of a limit. */
export const against = (value, limit, label) => (limit === undefined || limit === null ? `${number(value)}, no limit` : meter({ value, max: limit, label }));

const COLUMNS = [
  { head: 'Tenant', look: 'name', show: (tenant) => h('a', { href: `#/tenants/${tenant.id}` }, tenant.name) },
  { head: 'Tier', show: (tenant) => tenant.tier },
  { head: 'Credits', look: 'figure', show: (tenant) => number(tenant.credits) },
  { head: 'Running', show: (tenant) => against(tenant.running, tenant.running_limit, `Running analyses of ${tenant.name}`) },
  { head: 'Today', show: (tenant) => against(tenant.today, tenant.daily_limit, `Analyses of ${tenant.name} today`) },
  { head: 'Created', look: 'figure low', show: (tenant) => time(tenant.created_at) },
  { head: 'Id', look: 'code low', show: (tenant) => tenant.id },
];

async function create() {
  const tenant = await ask({
    title: 'Create a tenant',
    yes: 'Create',
    fields: [
      { name: 'name', label: 'Name', required: true, maxlength: 200, autofocus: true },
      { name: 'tier', label: 'Tier', options: TIERS.map((tier) => [tier, tier]) },
      { name: 'credits', label: 'Initial credits', type: 'number', min: 0, max: 1e12, step: 1, value: 0, required: true },
    ],
    act: ({ name, tier, credits }) => post('/admin/v1/tenants', { name, tier, credits: Number(credits) }),
  });
  if (!tenant) return;
  remember(tenant);
  say(`Tenant ${tenant.name} created. Create a key so that it can call the API.`);
  location.hash = `#/tenants/${tenant.id}`;
}

export const tenants = {
  name: 'tenants',
  title: 'Tenants',
  open(page) {
    const address = (parameters) => withQuery('#/tenants', parameters);
    const search = h('input', { id: 'search', type: 'search', placeholder: 'Start of a name, or an id', maxlength: '200', spellcheck: 'false', autocomplete: 'off' });
    let timer;
    const apply = () => {
      clearTimeout(timer);
      if (search.value.trim() !== (page.query.get('search') ?? '')) location.replace(address({ search: search.value.trim() }));
    };
    search.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(apply, PAUSE);
    });
    page.signal.addEventListener('abort', () => clearTimeout(timer));
    const submit = (event) => {
      event.preventDefault();
      apply();
    };
    page.tools(h('form', { class: 'filters', role: 'search', 'aria-label': 'Find tenants', on: { submit } },
      h('div', { class: 'field grow' }, h('label', { for: 'search' }, 'Search'), search)));
    page.actions(h('button', { id: 'make-tenant', type: 'button', class: 'primary', 'data-action': 'make' }, 'Create a tenant'));
    page.acts.make = create;

    let current;
    page.requery = () => {
      const prefix = page.query.get('search') ?? '';
      const cursor = page.query.get('cursor') ?? '';
      if (search !== document.activeElement) search.value = prefix;
      current?.abort();
      current = new AbortController();
      const signal = AbortSignal.any([page.signal, current.signal]);
      let announced = !prefix;
      page.live(() => get(withQuery('/admin/v1/tenants', { search: prefix, cursor, limit: PAGE }), { signal }), (answer) => {
        answer.tenants.forEach(remember);
        page.show(
          table({
            id: 'tenants',
            caption: 'Tenants',
            hush: true,
            columns: COLUMNS,
            rows: answer.tenants,
            key: (tenant) => tenant.id,
            empty: prefix ? `No tenant’s name begins with “${prefix}”.` : 'No tenants yet.',
          }),
          pager({ label: 'tenants', cursor, next: answer.next_cursor, link: (to) => address({ search: prefix, cursor: to }) }));
        if (!announced) announce(`${answer.tenants.length}${answer.next_cursor ? ' or more' : ''} tenants found.`);
        announced = true;
      }, { signal, until: () => cursor !== '' });
    };
    page.requery();
  },
};
