// Polls the API while the page is visible.

import { Problem } from './api.js';
import { $ } from './dom.js';
import { announce } from './say.js';

const INTERVAL = 3000;
const MAX_INTERVAL = 30000;

/** The active pollers with their problems. */
const pollers = new Set();
let countdown;

function paint() {
  const all = [...pollers];
  const failing = all.filter((one) => one.problem).sort((a, b) => a.due - b.due);
  $('live').hidden = all.length === 0;
  $('live').classList.toggle('bad', failing.length > 0);
  $('live-words').textContent = failing.length ? 'Not live' : 'Live';
  const worsened = failing.length > 0 && $('live-notice').hidden;
  $('live-notice').hidden = failing.length === 0;
  clearTimeout(countdown);
  if (!failing.length) return;
  const wait = Math.max(0, Math.ceil((failing[0].due - Date.now()) / 1000));
  $('live-reason').textContent = `Not live: ${failing[0].problem.message} ${wait ? `Next attempt in ${wait} s.` : 'Retrying now.'}`;
  if (worsened) announce(`Not live: ${failing[0].problem.message}`);
  countdown = setTimeout(paint, 1000);
}

/** Waits until the page is visible. */
export function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    document.addEventListener('visibilitychange', done);
    signal.addEventListener('abort', done);
  });
}

/**
 * A poller until `signal`. Its owner reports `succeeded`, `failed`, which returns the time to wait,
 * and `stopped`.
 */
export function poller(signal, again) {
  const self = { again, problem: undefined, due: 0 };
  let failures = 0;
  signal.addEventListener('abort', () => self.stopped());
  self.succeeded = () => {
    failures = 0;
    self.problem = undefined;
    pollers.add(self);
    paint();
  };
  self.failed = (problem) => {
    const wait = Math.max(Math.min(MAX_INTERVAL, INTERVAL * 2 ** failures), (problem.retryAfter ?? 0) * 1000);
    failures += 1;
    self.problem = problem;
    self.due = Date.now() + wait;
    pollers.add(self);
    paint();
    return wait;
  };
  self.stopped = () => {
    if (pollers.delete(self)) paint();
  };
  return self;
}

/**
 * Loads and shows every few seconds, until `signal`, or until `until` holds of the loaded data. A
 * permanent failure goes to `refuse`. `again()` loads at once.
 */
export function live({ signal, load, show, refuse, every = INTERVAL, until = () => false }) {
  let timer;
  let round = 0;
  const turn = async () => {
    clearTimeout(timer);
    round += 1;
    const mine = round;
    const current = () => mine === round && !signal.aborted;
    await visible(signal);
    if (!current()) return;
    try {
      const data = await load(signal);
      if (!current()) return;
      if (until(data)) self.stopped();
      else {
        self.succeeded();
        timer = setTimeout(turn, every);
      }
      show(data);
    } catch (problem) {
      if (!current()) return;
      if (!(problem instanceof Problem)) throw problem;
      if (problem.transient) timer = setTimeout(turn, self.failed(problem));
      else {
        self.stopped();
        refuse(problem);
      }
    }
  };
  const self = poller(signal, turn);
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return { again: turn };
}

$('live-again').addEventListener('click', () => {
  for (const one of [...pollers]) if (one.problem) one.again();
});
