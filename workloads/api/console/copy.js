// Copies text to the clipboard.

import { say } from './say.js';

export async function copy(value) {
  try {
    await navigator.clipboard.writeText(value);
    say('Copied.');
  } catch {
    // Browsers have no clipboard on pages from plain HTTP.
    say('The browser does not allow this page to copy. Select the text and copy it.', { bad: true });
  }
}
