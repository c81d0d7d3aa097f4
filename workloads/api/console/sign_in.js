// Asking for the key.

import { Problem, roleOf } from './api.js';
import { h } from './dom.js';
import { session } from './session.js';

export const signIn = {
  name: 'sign-in',
  title: 'Sign in',
  open(page) {
    const key = h('input', { id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, maxlength: '256', 'aria-describedby': 'key-hint' });
    const button = h('button', { id: 'sign-in', type: 'submit', class: 'primary' }, 'Sign in');
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      page.show();
      try {
        const given = key.value.trim();
        // Other characters cannot even be sent.
        if (!/^[!-~]+$/.test(given)) throw new Problem('This is not a key: keys have no spaces or special characters.');
        session.begin(given, await roleOf(given));
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        page.refuse(problem);
        key.select();
      } finally {
        button.disabled = false;
      }
    };
    page.tools(h('form', { class: 'panel sign-in', on: { submit } },
      h('div', { class: 'field' },
        h('label', { for: 'key' }, 'API key or admin key'),
        key,
        h('p', { id: 'key-hint', class: 'hint' }, 'It stays in this tab and goes away with it.')),
      button));
    page.show();
    key.focus();
  },
};
