// Confirmations, forms and reports in native dialogs, which trap the focus and restore it.

import { Problem } from './api.js';
import { $, h } from './dom.js';

function field({ name, label, type = 'text', hint, options, ...rest }) {
  const id = `field-${name}`;
  const described = hint ? { 'aria-describedby': `${id}-hint` } : {};
  const control = options
    ? h('select', { id, name, ...described, ...rest }, options.map(([value, words]) => h('option', { value }, words)))
    : h('input', { id, name, type, autocomplete: 'off', ...described, ...rest });
  return h('div', { class: 'field' },
    h('label', { for: id }, label),
    control,
    hint && h('p', { id: `${id}-hint`, class: 'hint' }, hint));
}

function open(id, title, ...content) {
  const dialog = h('dialog', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), ...content);
  document.body.append(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.showModal();
  return dialog;
}

/**
 * Asks for confirmation and then calls `act(values, { signal, say })`: `values` holds the fields,
 * and "Cancel" aborts `signal`. A failure keeps the dialog open with its reason. Returns the value
 * of `act`; undefined if nothing was done.
 */
export function ask({ title, words, yes, danger = false, fields = [], act }) {
  return new Promise((resolve) => {
    let done;
    const stop = new AbortController();
    const problem = h('p', { id: 'dialog-problem', class: 'problem', role: 'alert', hidden: true });
    const progress = h('p', { id: 'dialog-progress', class: 'hint', role: 'status' });
    const go = h('button', { id: 'confirm-yes', type: 'submit', class: danger ? 'danger' : 'primary' }, yes);
    const no = h('button', { id: 'confirm-no', type: 'button', autofocus: fields.length === 0 }, 'Cancel');
    const form = h('form', {}, fields.map(field), problem, progress, h('div', { class: 'buttons' }, no, go));
    const dialog = open('dialog', title, words && h('p', {}, words), form);
    no.addEventListener('click', () => {
      stop.abort();
      if (!go.disabled) dialog.close();
    });
    dialog.addEventListener('cancel', (event) => {
      if (!go.disabled) return;
      event.preventDefault();
      stop.abort();
    });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      problem.hidden = true;
      go.disabled = true;
      try {
        const say = (now) => {
          progress.textContent = now;
        };
        done = await act(Object.fromEntries(new FormData(form)), { signal: stop.signal, say });
        dialog.close();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        problem.textContent = error.text;
        problem.hidden = false;
      } finally {
        go.disabled = false;
      }
    });
    dialog.addEventListener('close', () => resolve(done));
  });
}

/** Shows a report until it is closed. */
export function showReport({ title, content, close = 'Close' }) {
  return new Promise((resolve) => {
    const button = h('button', { id: 'dialog-close', type: 'button', class: 'primary' }, close);
    const dialog = open('report', title, ...content, h('div', { class: 'buttons' }, button));
    button.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => resolve());
  });
}

export const isOpen = () => $('dialog') !== null || $('report') !== null;
