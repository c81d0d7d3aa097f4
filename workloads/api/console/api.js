// Calls of the API.

import { session } from './session.js';
import { setServerTime } from './words.js';

/** A response that is not a success, or none. `message` is for people. */
export class Problem extends Error {
  constructor(message, { status = 0, code = '', retryAfter } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    /** Seconds after which a retry makes sense. */
    this.retryAfter = retryAfter;
  }

  /** Whether a retry of the call may succeed. */
  get transient() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** The message, with the time of a retry if the server sent one. */
  get text() {
    return this.retryAfter ? `${this.message} Try again in ${this.retryAfter} s.` : this.message;
  }
}

function retryAfter(response) {
  const value = response.headers.get('Retry-After');
  if (!value) return undefined;
  const seconds = Number(value);
  const wait = Number.isFinite(seconds) ? seconds : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(1, Math.ceil(wait)) : undefined;
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const message = body.detail || body.title || `The API answered ${response.status} without a reason.`;
  return new Problem(message, { status: response.status, code: body.code, retryAfter: retryAfter(response) });
}

async function send(method, path, { body, signal, key, idempotency, accept = 'application/json' } = {}) {
  const headers = { Authorization: `Bearer ${key ?? session.key}`, Accept: accept };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (idempotency) headers['Idempotency-Key'] = idempotency;
  let response;
  try {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(path, { method, headers, body: payload, signal, cache: 'no-store', credentials: 'omit' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The API is unreachable.');
  }
  setServerTime(response.headers.get('Date'));
  if (response.ok) return response;
  const problem = await problemOf(response);
  // A key that the sign-in tests has no session yet.
  if (problem.status === 401 && key === undefined) session.end(problem.message);
  throw problem;
}

async function json(method, path, options) {
  const response = await send(method, path, options);
  if (response.status === 204) return undefined;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The connection to the API broke during a response.');
  }
}

export const get = (path, options) => json('GET', path, options);
export const post = (path, body = {}, options) => json('POST', path, { ...options, body });
export const remove = (path, options) => json('DELETE', path, options);

/** A path with the parameters that have a value. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, value);
  }
  return query.size ? `${path}?${query}` : path;
}

/** The parsed data of Server-Sent Events. EventSource cannot send the key. */
export async function* events(path, signal) {
  const response = await send('GET', path, { signal, accept: 'text/event-stream' });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
        if (data.length) yield JSON.parse(data.join('\n'));
      }
    }
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('The connection to the event stream broke.');
  }
}

/** The role of a key; throws the refusal if the key is unknown. */
export async function roleOf(key) {
  try {
    await get('/admin/v1/health', { key });
    return 'admin';
  } catch (problem) {
    if (problem.status !== 401 && problem.status !== 403) throw problem;
  }
  await get('/v1/usage', { key });
  return 'tenant';
}
