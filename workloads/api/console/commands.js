// Commands on a job. Each asks for confirmation, and returns whether it was executed.

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
    words: 'Its progress is lost. The price is refunded if no worker has started the job.',
    yes: 'Cancel the job',
    danger: true,
    act: () => post(`${base}/cancel`),
  });
  const refunded = done?.refunded ?? done?.credits?.refunded ?? 0;
  if (done) say(`The analysis of @${username} is cancelled; ${refunded ? `${plural(refunded, 'credit')} refunded` : 'no credits refunded'}.`);
  return Boolean(done);
}

export async function replay({ id, username }) {
  const done = await ask({
    title: `Replay the analysis of @${username}?`,
    words: 'It runs again from the beginning, with new attempts. Its price was refunded when it died, and is charged again.',
    yes: 'Replay',
    act: () => COMMANDS.replay(id),
  });
  if (done) say(`The analysis of @${username} is queued again; ${plural(done.credits.charged, 'credit')} charged.`);
  return Boolean(done);
}

export async function discard({ id, username }) {
  const done = await ask({
    title: `Discard the dead letter of @${username}?`,
    words: 'It leaves the list for good and can no longer be replayed. The job and its history stay.',
    yes: 'Discard',
    danger: true,
    act: () => COMMANDS.discard(id),
  });
  if (done) say(`The dead letter of @${username} is discarded.`);
  return Boolean(done);
}
