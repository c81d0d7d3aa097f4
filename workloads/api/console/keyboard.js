// Keyboard shortcuts.

import { isOpen, showReport } from './dialog.js';
import { h } from './dom.js';
import { session } from './session.js';

const OFF = 'switchyard.shortcuts-off';
const SEQUENCE_TIMEOUT = 1200;

const ADMIN = { o: ['overview', 'Overview'], l: ['lanes', 'Lanes'], j: ['jobs', 'Jobs'], d: ['dead', 'Dead letters'], t: ['tenants', 'Tenants'], w: ['workers', 'Workers'], c: ['connections', 'Connections'] };
const TENANT = { o: ['usage', 'Usage'], n: ['ask', 'New analysis'], j: ['jobs', 'Jobs'], l: ['ledger', 'Ledger'] };

const targets = () => (session.admin ? ADMIN : TENANT);

function isOff() {
  try {
    return localStorage.getItem(OFF) === 'yes';
  } catch {
    return false;
  }
}

function setOff(off) {
  try {
    localStorage.setItem(OFF, off ? 'yes' : 'no');
  } catch {
    // Without storage the shortcuts stay on.
  }
}

export function showShortcuts() {
  const rows = [
    ['/', 'Focus the search'],
    ['j or ↓', 'In a table: next row'],
    ['k or ↑', 'In a table: previous row'],
    ['Esc', 'Close a dialog'],
    ...Object.entries(targets()).map(([key, [, words]]) => [`g then ${key}`, words]),
    ['?', 'Show the shortcuts'],
  ];
  const box = h('input', { id: 'shortcuts-on', type: 'checkbox', on: { change: () => setOff(!box.checked) } });
  box.checked = !isOff();
  showReport({
    title: 'Keyboard shortcuts',
    content: [
      h('table', { class: 'keys' },
        h('caption', { class: 'hush' }, 'Keyboard shortcuts'),
        h('tbody', {}, rows.map(([key, words]) => h('tr', {}, h('th', { scope: 'row' }, h('kbd', {}, key)), h('td', {}, words))))),
      h('p', {}, h('label', { class: 'check' }, box, 'Enable single-key shortcuts')),
    ],
  });
}

/** Focuses the same position in the previous or next row; returns whether there is one. */
function moveInTable(step) {
  const row = document.activeElement.closest('tbody tr');
  const places = (of) => [...of.querySelectorAll('a[href], button, input, summary')].filter((node) => !node.disabled && node.offsetParent);
  if (!row) {
    const first = document.querySelector('#view tbody tr a[href], #view tbody tr button');
    first?.focus();
    return Boolean(first);
  }
  const place = Math.max(0, places(row).indexOf(document.activeElement));
  let next = row;
  do next = step > 0 ? next.nextElementSibling : next.previousElementSibling;
  while (next && !places(next).length);
  if (!next) return false;
  const there = places(next);
  there[Math.min(place, there.length - 1)].focus();
  return true;
}

let sequenceStart = 0;

function act(event) {
  const { key } = event;
  if (sequenceStart && Date.now() - sequenceStart < SEQUENCE_TIMEOUT) {
    sequenceStart = 0;
    const target = targets()[key];
    if (target) location.hash = `#/${target[0]}`;
    return Boolean(target);
  }
  if (key === 'g') {
    sequenceStart = Date.now();
    return true;
  }
  if (key === '?') {
    showShortcuts();
    return true;
  }
  if (key === '/') {
    const search = document.getElementById('search');
    search?.focus();
    search?.select();
    return Boolean(search);
  }
  if (key === 'j') return moveInTable(1);
  return key === 'k' && moveInTable(-1);
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isOpen() || !session.key) return;
  if (event.target.matches('input:not([type=checkbox]), select, textarea')) return;
  const inRow = event.target.closest('tbody tr');
  const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (arrow ? inRow && moveInTable(arrow) : !isOff() && act(event)) event.preventDefault();
});
