// To the clipboard.

import { say } from './say.js';

export async function copy(value) {
  try {
    await navigator.clipboard.writeText(value);
    say('Copied.');
  } catch {
    // Browsers have no clipboard on pages that came over plain HTTP.
    say('The browser does not let this page copy. Select the text and copy it yourself.', { bad: true });
  }
}
