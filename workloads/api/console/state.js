// States, each with an icon, so that colour is not the only difference.

import { h, svg } from './dom.js';

const SHAPES = {
  queued: 'M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3',
  running: 'M5 3l8 5-8 5z',
  retrying: 'M12.5 8.5A4.5 4.5 0 1 1 10.8 4.9M11 2v3.2H7.8',
  completed: 'M3 8.5l3.3 3.3L13 4.5',
  dead: 'M4 4l8 8M12 4l-8 8',
  cancelled: 'M3 8h10',
  paused: 'M5.5 3.5v9M10.5 3.5v9',
  draining: 'M8 3v8M4.5 8L8 11.5 11.5 8',
  silent: 'M8 3v6M8 12v.6',
  working: 'M3 8.5l3.3 3.3L13 4.5',
};

/** Final states, which a job leaves only by a replay. */
const FINAL = new Set(['completed', 'dead', 'cancelled']);

export const STATES = ['queued', 'running', 'retrying', 'completed', 'dead', 'cancelled'];
export const LANES = ['critical', 'high', 'normal', 'low'];
export const KINDS = ['general', 'cdn', 'discovery', 'ai'];
export const TIERS = ['free', 'standard', 'premium', 'enterprise'];

export const isFinal = (state) => FINAL.has(state);

export const badge = (state, words = state) =>
  h('span', { class: `badge state-${state}` },
    svg('svg', { viewBox: '0 0 16 16', width: '12', height: '12', 'aria-hidden': 'true' }, svg('path', { d: SHAPES[state] ?? SHAPES.queued })),
    words);
