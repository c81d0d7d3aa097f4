// Dead letters, with their failures, replay and discard.

import { Problem, get, withQuery } from './api.js';
import { COMMANDS, discard, replay } from './commands.js';
import { ask, showReport } from './dialog.js';
import { $, h } from './dom.js';
import { learn, tenantLink } from './names.js';
import { say } from './say.js';
import { table } from './table.js';
import { plural, time } from './words.js';

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** Longest `Retry-After` that a bulk command waits for, in seconds. */
const MAX_WAIT = 30;

const DONE = { replay: 'replayed', discard: 'discarded' };

function history({ job, failures, children }) {
  const line = (of, failure) => h('li', { 'data-key': `${of}-${failure.attempt}-${failure.at}` },
    `${of}, attempt ${failure.attempt}, `, time(failure.at), ': ', h('span', { class: 'code bad' }, failure.code), ` ${failure.message}${failure.permanent ? ' (permanent)' : ''}`);
  const lines = [
    ...failures.map((failure) => line('analysis', failure)),
    ...children.flatMap((child) => child.failures.map((failure) => line(child.kind, failure))),
  ];
  return h('details', {}, h('summary', {}, job.error && h('span', { class: 'code bad' }, job.error.code), ` ${plural(lines.length, 'failed attempt')}`), h('ol', { class: 'history' }, lines));
}

const why = (letter) => [
  h('p', {}, letter.job.error?.message ?? 'No reason was recorded.'),
  history(letter),
];

const columns = (chosen) => [
  { head: 'Select', hushed: true, look: 'tick', show: ({ job }) => h('input', { type: 'checkbox', 'data-action': 'choose', 'data-id': job.id, 'aria-label': `Select ${job.username}`, checked: chosen.has(job.id) }) },
  { head: 'Profile', names: true, look: 'name', show: ({ job }) => h('a', { href: `#/jobs/${job.id}`, title: job.username }, job.username) },
  { head: 'Error', look: 'wide wrap', show: why },
  { head: 'Tenant', look: 'low name', show: ({ job }) => tenantLink(job.tenant) },
  { head: 'Lane', look: 'mid', show: ({ job }) => job.lane },
  { head: 'Died', look: 'figure', show: ({ job }) => (job.finished_at ? time(job.finished_at) : '–') },
  { head: 'Actions', hushed: true, look: 'pair', show: ({ job }) => [
    h('button', { type: 'button', 'data-action': 'replay', 'data-id': job.id, 'aria-label': `Replay ${job.username}` }, 'Replay'),
    h('button', { type: 'button', 'data-action': 'discard', 'data-id': job.id, 'aria-label': `Discard ${job.username}` }, 'Discard')] },
];

/**
 * Executes a command for each job in turn, with one retry after `Retry-After`. Returns the
 * failures.
 */
async function doAll(name, letters, { signal, say: tellProgress }) {
  const failed = [];
  let done = 0;
  for (const { job } of letters) {
    if (signal.aborted) break;
    tellProgress(`${done + failed.length + 1} of ${letters.length}: @${job.username}`);
    try {
      await COMMANDS[name](job.id).catch(async (problem) => {
        const retryable = problem.code === 'rate-limited' || problem.status === 503;
        if (!retryable || !(problem.retryAfter <= MAX_WAIT)) throw problem;
        tellProgress(`${problem.message} Continuing in ${problem.retryAfter} s.`);
        await new Promise((resolve) => setTimeout(resolve, problem.retryAfter * 1000));
        if (signal.aborted) throw problem;
        await COMMANDS[name](job.id);
      });
      done += 1;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      failed.push({ job, problem });
    }
  }
  return { done, failed, left: letters.length - done - failed.length };
}

function report(name, { done, failed, left }) {
  const words = `${plural(done, 'dead letter')} ${DONE[name]}.`;
  if (!failed.length && !left) {
    say(words);
    return;
  }
  showReport({
    title: failed.length ? `${plural(failed.length, 'dead letter')} could not be ${DONE[name]}` : 'Stopped',
    content: [
      h('p', {}, `${words}${left ? ` ${plural(left, 'dead letter')} unchanged, because you stopped.` : ''}`),
      h('ul', { class: 'history', id: 'failed' }, failed.map(({ job, problem }) => h('li', {}, h('strong', {}, `@${job.username}`), `: ${problem.message}`))),
    ],
  });
}

export const dead = {
  name: 'dead',
  title: 'Dead letters',
  open(page) {
    const chosen = new Set();
    let letters = [];
    let limit = DEFAULT_LIMIT;
    let shown;

    const paintTools = () => {
      const none = chosen.size === 0;
      $('chosen').textContent = none ? 'Nothing selected' : `${plural(chosen.size, 'dead letter')} selected`;
      for (const id of ['replay', 'discard']) $(id).disabled = none;
      const all = $('select-all');
      all.checked = !none && chosen.size === letters.length;
      all.indeterminate = !none && chosen.size < letters.length;
      all.disabled = letters.length === 0;
      for (const box of document.querySelectorAll('#view input[data-id]')) box.checked = chosen.has(box.dataset.id);
    };

    const paint = () => {
      page.show(
        letters.length >= limit && h('p', { class: 'hint', 'data-key': 'more' }, `These are the latest ${limit}; there may be more. `,
          limit < MAX_LIMIT && h('button', { type: 'button', id: 'more-dead', 'data-action': 'more' }, `Show up to ${MAX_LIMIT}`)),
        table({ id: 'dead', caption: 'Dead letters, the latest failure first', hush: true, columns: columns(chosen), rows: letters, key: ({ job }) => job.id, empty: 'No dead letters: no analysis has failed for good.' }));
      paintTools();
    };

    page.tools(h('div', { class: 'filters', role: 'group', 'aria-label': 'The selected dead letters' },
      h('label', { class: 'check' }, h('input', { id: 'select-all', type: 'checkbox', 'data-action': 'choose-all' }), 'Select all'),
      h('span', { id: 'chosen', class: 'hint' }),
      h('button', { id: 'replay', type: 'button', 'data-action': 'replay-chosen' }, 'Replay selected'),
      h('button', { id: 'discard', type: 'button', 'data-action': 'discard-chosen', class: 'danger' }, 'Discard selected')));

    const list = page.live((signal) => get(withQuery('/admin/v1/dead', { limit }), { signal }), async ({ dead: rows }) => {
      // Painting a thousand rows is slow, and they rarely change; the clock updates their ages.
      const answer = JSON.stringify([limit, rows]);
      if (answer === shown) return;
      shown = answer;
      letters = rows;
      const present = new Set(rows.map(({ job }) => job.id));
      for (const id of chosen) if (!present.has(id)) chosen.delete(id);
      paint();
      if (await learn(rows.map(({ job }) => job.tenant), page.signal)) paint();
    });

    const one = (command) => async ({ id }) => {
      if (await command(letters.find(({ job }) => job.id === id).job)) list.again();
    };
    const many = (name, words) => async () => {
      const those = letters.filter(({ job }) => chosen.has(job.id));
      const outcome = await ask({
        title: `${name === 'replay' ? 'Replay' : 'Discard'} ${plural(those.length, 'dead letter')}?`,
        words,
        yes: name === 'replay' ? 'Replay' : 'Discard',
        danger: name === 'discard',
        act: (_, progress) => doAll(name, those, progress),
      });
      if (!outcome) return;
      list.again();
      report(name, outcome);
    };
    Object.assign(page.acts, {
      replay: one(replay),
      discard: one(discard),
      'replay-chosen': many('replay', 'They run again from the beginning, and their prices are charged again.'),
      'discard-chosen': many('discard', 'They leave the list for good and can no longer be replayed.'),
      choose({ id }, box) {
        if (box.checked) chosen.add(id);
        else chosen.delete(id);
        paintTools();
      },
      'choose-all'(_, box) {
        chosen.clear();
        if (box.checked) for (const { job } of letters) chosen.add(job.id);
        paintTools();
      },
      more() {
        limit = MAX_LIMIT;
        list.again();
      },
    });
    paintTools();
  },
};
