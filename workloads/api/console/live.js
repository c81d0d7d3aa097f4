// Asking again and again, as long as somebody looks.

import { Problem } from './api.js';
import { $ } from './dom.js';
import { announce } from './say.js';

const EVERY = 3000;
const LONGEST = 30000;

/** What asks now, and what is wrong with it. */
const askers = new Set();
let ticking;

function paint() {
  const all = [...askers];
  const ill = all.filter((asker) => asker.problem).sort((a, b) => a.due - b.due);
  $('live').hidden = all.length === 0;
  $('live').classList.toggle('bad', ill.length > 0);
  $('live-words').textContent = ill.length ? 'Not live' : 'Live';
  const worsened = ill.length > 0 && $('live-notice').hidden;
  $('live-notice').hidden = ill.length === 0;
  clearTimeout(ticking);
  if (!ill.length) return;
  const wait = Math.max(0, Math.ceil((ill[0].due - Date.now()) / 1000));
  $('live-reason').textContent = `Not live: ${ill[0].problem.message} ${wait ? `Next try in ${wait} s.` : 'Trying now.'}`;
  if (worsened) announce(`Not live: ${ill[0].problem.message}`);
  ticking = setTimeout(paint, 1000);
}

/** Waits until the page is looked at. */
export function looked(signal) {
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
 * One thing that is kept up to date until `signal`. It says how it goes by `well`, `ill` and `rest`; a failure is answered with the time to wait.
 */
export function asker(signal, again) {
  const self = { again, problem: undefined, due: 0 };
  let failures = 0;
  signal.addEventListener('abort', () => self.rest());
  self.well = () => {
    failures = 0;
    self.problem = undefined;
    askers.add(self);
    paint();
  };
  self.ill = (problem) => {
    const wait = Math.max(Math.min(LONGEST, EVERY * 2 ** failures), (problem.retryAfter ?? 0) * 1000);
    failures += 1;
    self.problem = problem;
    self.due = Date.now() + wait;
    askers.add(self);
    paint();
    return wait;
  };
  self.rest = () => {
    if (askers.delete(self)) paint();
  };
  return self;
}

/**
 * Loads and shows, and again every few seconds, until `signal`, or until `until` holds of what was loaded. What can never pass goes to `refuse`.
 * `again()` loads at once.
 */
export function live({ signal, load, show, refuse, every = EVERY, until = () => false }) {
  let timer;
  let round = 0;
  const turn = async () => {
    clearTimeout(timer);
    round += 1;
    const mine = round;
    const current = () => mine === round && !signal.aborted;
    await looked(signal);
    if (!current()) return;
    try {
      const data = await load(signal);
      if (!current()) return;
      if (until(data)) self.rest();
      else {
        self.well();
        timer = setTimeout(turn, every);
      }
      show(data);
    } catch (problem) {
      if (!current()) return;
      if (!(problem instanceof Problem)) throw problem;
      if (problem.passing) timer = setTimeout(turn, self.ill(problem));
      else {
        self.rest();
        refuse(problem);
      }
    }
  };
  const self = asker(signal, turn);
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return { again: turn };
}

$('live-again').addEventListener('click', () => {
  for (const one of [...askers]) if (one.problem) one.again();
});
