// The sign-in form.

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
        // A header cannot hold other characters.
        if (!/^[!-~]+$/.test(given)) throw new Problem('Invalid key: keys have no spaces or special characters.');
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
        h('p', { id: 'key-hint', class: 'hint' }, 'The key stays in this tab and is removed when you close it.')),
      button));
    page.show();
    key.focus();
  },
};
