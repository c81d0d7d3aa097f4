// What can be done to a job. Each asks first, and answers whether it was done.

import { post } from './api.js';
import { ask } from './dialog.js';
import { say } from './say.js';
import { plural } from './words.js';

/** The calls themselves, for many jobs in a row. */
export const COMMANDS = {
  replay: (id) => post(`/admin/v1/dead/${id}/replay`),
  discard: (id) => post(`/admin/v1/dead/${id}/discard`),
};

export async function cancel({ username }, base) {
  const done = await ask({
    title: `Cancel the analysis of @${username}?`,
    words: 'What has been done so far is lost. The credits come back when no worker had begun.',
    yes: 'Cancel the job',
    danger: true,
    act: () => post(`${base}/cancel`),
  });
  const refunded = done?.refunded ?? done?.credits?.refunded ?? 0;
  if (done) say(`The analysis of @${username} is cancelled; ${refunded ? `${plural(refunded, 'credit')} came back` : 'no credits came back'}.`);
  return Boolean(done);
}

export async function replay({ id, username }) {
  const done = await ask({
    title: `Replay the analysis of @${username}?`,
    words: 'It runs again from the beginning, with a fresh set of attempts. Its credits went back to the tenant when it died, so they are charged again.',
    yes: 'Replay',
    act: () => COMMANDS.replay(id),
  });
  if (done) say(`The analysis of @${username} is queued again; ${plural(done.credits.charged, 'credit')} charged.`);
  return Boolean(done);
}

export async function discard({ id, username }) {
  const done = await ask({
    title: `Discard the dead letter of @${username}?`,
    words: 'It leaves the list for good and cannot be replayed any more. The job and its history stay.',
    yes: 'Discard',
    danger: true,
    act: () => COMMANDS.discard(id),
  });
  if (done) say(`The dead letter of @${username} is discarded.`);
  return Boolean(done);
}
