// Notifications, on screen and for screen readers.

import { $ } from './dom.js';

const STAYS = 8000;
let timer;

/** Announces a message to screen readers only. */
export const announce = (words) => {
  $('announcer').textContent = words;
};

const hide = () => {
  clearTimeout(timer);
  $('said').hidden = true;
};

/** Shows a message at the foot of the page; a failure stays until it is dismissed. */
export function say(words, { bad = false } = {}) {
  clearTimeout(timer);
  $('said-words').textContent = words;
  $('said').classList.toggle('bad', bad);
  $('said').hidden = false;
  announce(words);
  if (!bad) timer = setTimeout(hide, STAYS);
}

$('said-close').addEventListener('click', hide);
