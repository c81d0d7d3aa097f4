// One tenant: its usage, credits, keys and ledger.

import { get, post, remove, withQuery } from './api.js';
import { copy } from './copy.js';
import { ask, showReport } from './dialog.js';
import { h } from './dom.js';
import { ledgerPage, loadLedger } from './ledger.js';
import { remember } from './names.js';
import { say } from './say.js';
import { table } from './table.js';
import { against } from './tenants.js';
import { number, plural, shortId, time } from './words.js';

/** Interval for keys and the ledger, which change seldom. */
const SELDOM = 15000;

const detail = (words, value, look) => h('div', { 'data-key': words, class: look }, h('dt', {}, words), h('dd', {}, value));

function usagePanel({ tenant, limits }) {
  const even = tenant.ledger_sum === tenant.credits;
  return h('section', { class: 'panel', 'data-key': 'usage', 'aria-labelledby': 'usage-title' },
    h('h2', { id: 'usage-title' }, 'Usage'),
    h('p', { class: 'score' }, h('strong', { id: 'credits' }, number(tenant.credits)), ` ${tenant.credits === 1 ? 'credit' : 'credits'} left`),
    h('p', { id: 'ledger-sum', class: even ? 'hint' : 'problem' }, even
      ? `The ledger adds up: the sum of its entries is the balance, ${number(tenant.ledger_sum)}.`
      : `The ledger does not add up: its entries sum to ${number(tenant.ledger_sum)}, but the balance is ${number(tenant.credits)}. This is a bug: do not change the database, and investigate.`),
    h('dl', { class: 'details' },
      detail('Running', against(tenant.running, limits?.running_limit, 'Running analyses')),
      detail('Today', against(tenant.today, limits?.daily_limit, 'Analyses today')),
      detail('Tier', tenant.tier),
      detail('Created', time(tenant.created_at)),
      detail('Jobs', h('a', { href: `#/jobs?tenant=${tenant.id}` }, 'All jobs of this tenant')),
      detail('Id', h('code', { id: 'tenant-id' }, tenant.id), 'line')));
}

const revokeButton = ({ id }) =>
  h('button', { type: 'button', class: 'danger', 'data-action': 'revoke', 'data-id': id, 'aria-label': `Revoke ${shortId(id)}` }, 'Revoke');

const keysTable = (keys) => table({
  id: 'keys',
  caption: 'Keys',
  columns: [
    { head: 'Key', look: 'code', show: (key) => h('span', { title: key.id }, shortId(key.id)) },
    { head: 'Created', show: (key) => time(key.created_at) },
    { head: 'State', show: (key) => (key.revoked_at ? ['revoked ', time(key.revoked_at)] : 'valid') },
    { head: 'Action', hushed: true, look: 'pair', show: (key) => (key.revoked_at ? '' : revokeButton(key)) },
  ],
  rows: keys,
  key: (key) => key.id,
  row: (key) => ({ class: key.revoked_at ? 'row-revoked' : undefined }),
  empty: 'No keys: the tenant cannot call the API yet.',
});

const showKey = ({ key }) => showReport({
  title: 'The new key',
  content: [
    h('p', {}, 'The key is shown only once, and the database has only its hash. Copy it now.'),
    h('p', {}, h('code', { id: 'new-key', class: 'secret', tabindex: '0' }, key)),
    h('button', { id: 'copy-key', type: 'button', on: { click: () => copy(key) } }, 'Copy'),
  ],
  close: 'Done',
});

export const tenant = {
  name: 'tenant',
  title: 'Tenant',
  open(page) {
    const base = `/admin/v1/tenants/${encodeURIComponent(page.id)}`;
    const known = {};
    const link = (cursor) => withQuery(`#/tenants/${page.id}`, { cursor });

    const paint = () => {
      if (!known.usage) return;
      page.title(known.usage.tenant.name);
      page.show(
        h('div', { class: 'panels', 'data-key': 'panels' },
          usagePanel(known.usage),
          known.keys && h('div', { class: 'panel', 'data-key': 'keys' }, keysTable(known.keys))),
        known.ledger && ledgerPage(known.ledger, { cursor: known.cursor, link }));
    };
    const follow = (name, load, more) => page.live(load, (answer) => {
      known[name] = answer;
      paint();
    }, more);

    const usage = follow('usage', async (signal) => {
      // Only the list has the limits.
      const [one, listed] = await Promise.all([get(base, { signal }), get(withQuery('/admin/v1/tenants', { search: page.id, limit: 1 }), { signal })]);
      remember(one);
      return { tenant: one, limits: listed.tenants[0] };
    });
    const keys = follow('keys', async (signal) => (await get(`${base}/keys`, { signal })).keys, { every: SELDOM });
    let entries;
    let current;
    page.requery = () => {
      current?.abort();
      current = new AbortController();
      const signal = AbortSignal.any([page.signal, current.signal]);
      const cursor = page.query.get('cursor') ?? '';
      entries = follow('ledger', async () => {
        const answer = await loadLedger(`${base}/ledger`, cursor, signal);
        known.cursor = cursor;
        return answer;
      }, { signal, every: SELDOM, until: () => cursor !== '' });
    };
    page.requery();

    page.actions(
      h('button', { id: 'grant', type: 'button', 'data-action': 'grant' }, 'Grant credits'),
      h('button', { id: 'make-key', type: 'button', class: 'primary', 'data-action': 'make-key' }, 'Create a key'));
    Object.assign(page.acts, {
      async grant() {
        const done = await ask({
          title: `Grant credits to ${known.usage.tenant.name}`,
          yes: 'Grant',
          fields: [
            { name: 'amount', label: 'Credits', type: 'number', step: 1, required: true, autofocus: true, hint: 'A negative number removes credits; the balance never falls below 0.' },
            { name: 'reason', label: 'Reason', required: true, maxlength: 200, hint: 'Shown in the ledger, which the tenant can read.' },
          ],
          act: async ({ amount, reason }) => ({ amount: Number(amount), ...await post(`${base}/credits`, { amount: Number(amount), reason }) }),
        });
        if (!done) return;
        say(`${plural(Math.abs(done.amount), 'credit')} ${done.amount < 0 ? 'removed' : 'granted'}; the balance is ${number(done.credits)}.`);
        usage.again();
        entries.again();
      },
      async 'make-key'() {
        const made = await ask({
          title: `Create a key for ${known.usage.tenant.name}?`,
          words: 'The key is shown only once. The existing keys stay valid.',
          yes: 'Create',
          act: () => post(`${base}/keys`),
        });
        if (!made) return;
        keys.again();
        await showKey(made);
      },
      async revoke({ id }) {
        const done = await ask({
          title: `Revoke the key ${shortId(id)}?`,
          words: 'The API refuses the key from then on. This cannot be undone.',
          yes: 'Revoke',
          danger: true,
          act: async () => {
            await remove(`${base}/keys/${id}`);
            return true;
          },
        });
        if (!done) return;
        say(`The key ${shortId(id)} is revoked.`);
        keys.again();
      },
    });
  },
};
