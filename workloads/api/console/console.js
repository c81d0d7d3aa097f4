// The frame around the views: session, navigation and clicks.

import { Problem } from './api.js';
import { ask } from './ask.js';
import { connections } from './connections.js';
import { dead } from './dead.js';
import { $, h, patch } from './dom.js';
import { job } from './job.js';
import { jobs } from './jobs.js';
import { showShortcuts } from './keyboard.js';
import { lanes } from './lanes.js';
import { ledger } from './ledger.js';
import { live } from './live.js';
import { overview } from './overview.js';
import { announce, say } from './say.js';
import { session } from './session.js';
import { signIn } from './sign_in.js';
import { tenant } from './tenant.js';
import { tenants } from './tenants.js';
import { usage } from './usage.js';
import { workers } from './workers.js';

/** The views of each role, in the order of the navigation. The first is the start page. */
const VIEWS = {
  admin: [overview, lanes, jobs, dead, tenants, workers, connections],
  tenant: [usage, ask, jobs, ledger],
};
/** The views of a single item of a list. */
const SINGLE = { jobs: job, tenants: tenant };

let page;

function place() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', id] = path.split('/').map(decodeURIComponent);
  return { name, id, query: new URLSearchParams(query) };
}

function paintFrame(current) {
  document.body.classList.toggle('signed-out', !session.key);
  for (const id of ['views', 'shortcuts', 'sign-out']) $(id).hidden = !session.key;
  const views = VIEWS[session.role] ?? [];
  patch($('views'), h('ul', {}, views.map(({ name, title }) =>
    h('li', {}, h('a', { href: `#/${name}`, id: `nav-${name}`, 'aria-current': name === current ? 'page' : undefined }, title)))));
  document.querySelector('#views [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

/** What an open view uses. */
function newPage(view, { id, query }) {
  const end = new AbortController();
  const self = {
    view,
    id,
    query,
    signal: end.signal,
    close: () => end.abort(),
    title(words) {
      $('title').textContent = words;
      document.title = `${words} · Switchyard`;
    },
    /** Buttons beside the title; patched like the body. */
    actions: (...nodes) => patch($('actions'), nodes),
    /** Filters and forms: not patched, because users type into them. */
    tools: (...nodes) => $('tools').replaceChildren(...nodes),
    show(...nodes) {
      if (end.signal.aborted) return;
      patch($('view'), nodes);
      $('main').dataset.ready = 'true';
    },
    refuse(problem) {
      self.show(h('p', { class: 'problem', role: 'alert', 'data-key': 'problem' }, problem.text));
    },
    live: (load, show, more = {}) => live({ signal: end.signal, load, show, refuse: self.refuse, ...more }),
    /** Handlers of clicks on `data-action`. */
    acts: {},
  };
  return self;
}

function open() {
  const where = place();
  const views = VIEWS[session.role];
  let view = signIn;
  if (views) {
    const listing = views.find(({ name }) => name === where.name);
    view = where.id && listing ? SINGLE[where.name] : listing;
    if (!view) {
      location.replace(`#/${views[0].name}`);
      return;
    }
  }
  if (page?.view === view && page.id === where.id && page.requery) {
    page.query = where.query;
    page.requery();
    return;
  }
  page?.close();
  page = newPage(view, where);
  paintFrame(where.name);
  $('main').dataset.view = view.view ?? view.name;
  delete $('main').dataset.ready;
  page.title(view.title);
  patch($('actions'));
  page.tools();
  $('view').replaceChildren(h('p', { class: 'hint' }, views ? 'Loading…' : ''));
  view.open(page);
  if (views) $('title').focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

$('main').addEventListener('click', async (event) => {
  const button = event.target.closest('[data-action]');
  const act = button && page.acts[button.dataset.action];
  if (!act) return;
  try {
    await act(button.dataset, button);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(problem.text, { bad: true });
  }
});

$('skip').addEventListener('click', (event) => {
  // The fragment of the address is the view.
  event.preventDefault();
  $('main').focus();
});
$('shortcuts').addEventListener('click', showShortcuts);
$('sign-out').addEventListener('click', () => {
  session.end();
  announce('Signed out.');
});
window.addEventListener('hashchange', open);
session.changes.addEventListener('change', ({ detail: why }) => {
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  open();
  if (why) page.refuse(new Problem(why));
});

open();
