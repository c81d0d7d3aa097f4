// Requests an analysis.

import { Problem, post } from './api.js';
import { h } from './dom.js';
import { resultView } from './result.js';
import { announce, say } from './say.js';
import { duration, number, plural } from './words.js';

// crypto.randomUUID does not exist on pages from plain HTTP.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export const ask = {
  name: 'ask',
  title: 'New analysis',
  open(page) {
    const username = h('input', {
      id: 'username', type: 'text', required: true, maxlength: '65', placeholder: 'ada.lovelace', 'aria-describedby': 'username-hint',
      spellcheck: 'false', autocapitalize: 'none', autocomplete: 'off',
    });
    const fresh = h('input', { id: 'force-refresh', type: 'checkbox' });
    const button = h('button', { id: 'submit-analysis', type: 'submit', class: 'primary' }, 'Analyse');
    // An idempotency key: a request is charged once, even if it is sent again because its response
    // was lost.
    let idempotency = newKey();
    const renewKey = () => {
      idempotency = newKey();
    };
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      page.show();
      try {
        const answer = await post('/v1/analyses', { username: username.value.trim(), force_refresh: fresh.checked }, { idempotency });
        renewKey();
        if (answer.job) {
          say(`Accepted for ${plural(answer.credits.charged, 'credit')}; ${number(answer.credits.balance)} left.`);
          location.hash = `#/jobs/${answer.job.id}`;
        } else {
          const text = `From the cache, ${duration(answer.age_seconds)} old, free of charge.`;
          page.show(h('p', { class: 'notice', id: 'from-cache', 'data-key': 'cached' }, text), resultView(answer.result));
          announce(text);
        }
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        page.refuse(problem);
      } finally {
        button.disabled = false;
      }
    };
    page.tools(h('form', { class: 'panel ask', on: { submit, input: renewKey } },
      h('div', { class: 'field' },
        h('label', { for: 'username' }, 'Profile'),
        username,
        h('p', { id: 'username-hint', class: 'hint' }, 'Up to 64 letters, digits, dots, underscores and hyphens; a leading @ is dropped.')),
      h('label', { class: 'check' }, fresh, 'Run a new analysis even if there is a result of the last hour'),
      button));
    page.show();
  },
};
