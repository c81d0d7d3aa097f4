// Formats numbers and times.

import { h } from './dom.js';

const NUMBER = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 1 });
const ABSOLUTE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' });
const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

let ahead = 0;

/** Sets the clock of the server, by which ages are computed. */
export function setServerTime(date) {
  const off = Date.parse(date) - Date.now();
  // The header has whole seconds: small differences are ignored.
  if (Number.isFinite(off)) ahead = Math.abs(off) > 2000 ? off : 0;
}

/** Milliseconds now, by the server's clock. */
export const now = () => Date.now() + ahead;

export const number = (value) => NUMBER.format(value);
export const signed = (value) => `${value > 0 ? '+' : value < 0 ? '−' : ''}${NUMBER.format(Math.abs(value))}`;
export const percent = (share) => `${NUMBER.format(share * 100)} %`;
export const perMinute = (perSecond) => NUMBER.format(perSecond * 60);
export const mebibytes = (bytes) => NUMBER.format(Math.round(bytes / 1048576));
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** The end of an id. Ids begin with the time, so that recent ones differ only there. */
export const shortId = (id) => `…${id.slice(-8)}`;

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 10) / 10)} s`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pair = (large, small, one, other) => {
    const rest = Math.floor((whole % large) / small);
    return `${Math.floor(whole / large)} ${one}${rest ? ` ${rest} ${other}` : ''}`;
  };
  if (whole < 3600) return pair(60, 1, 'min', 's');
  if (whole < 86400) return pair(3600, 60, 'h', 'min');
  return pair(86400, 3600, 'd', 'h');
}

/** Seconds between two times; until now without an end. */
export const between = (from, to) => ((to ? Date.parse(to) : now()) - Date.parse(from)) / 1000;

function relative(at) {
  const seconds = (now() - at) / 1000;
  if (seconds < -1) return `in ${duration(Math.round(-seconds))}`;
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return DATE.format(at);
}

/** A relative time, with the exact time in its tooltip. */
export function time(at) {
  const moment = Date.parse(at);
  return h('time', { datetime: at, title: ABSOLUTE.format(moment), class: 'ago' }, relative(moment));
}

setInterval(() => {
  if (document.hidden) return;
  for (const node of document.querySelectorAll('time.ago')) {
    const words = relative(Date.parse(node.dateTime));
    if (node.textContent !== words) node.firstChild.data = words;
  }
}, 5000);
