// The result of an analysis.

import { shares } from './bar.js';
import { $, h } from './dom.js';
import { table } from './table.js';
import { duration, number, percent, time } from './words.js';

/** Posts that are shown at first. */
const POSTS = 20;

const FIELDS = [
  ['full_name', 'Name'], ['biography', 'About'], ['followers', 'Followers'], ['following', 'Following'], ['posts', 'Posts'], ['url', 'Address'], ['verified', 'Verified'], ['private', 'Private'], ['related', 'Related'],
];

function fieldWords(value) {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'number') return number(value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return String(value);
}

function profilePanel(profile) {
  const given = FIELDS.filter(([name]) => ![undefined, null, ''].includes(profile[name]) && profile[name].length !== 0);
  return h('section', { class: 'panel' },
    h('h3', {}, `@${profile.username ?? ''}`),
    profile.cached && h('p', { class: 'notice' }, `The profile source was unavailable: this is a cached profile, ${duration(profile.age_seconds ?? 0)} old.`),
    h('dl', { class: 'details' }, given.map(([name, words]) => h('div', {}, h('dt', {}, words), h('dd', {}, fieldWords(profile[name]))))));
}

const byShare = (of) => Object.entries(of ?? {}).sort(([, a], [, b]) => b - a).map(([name, value]) => [name, value, percent(value)]);

function aggregatePanel({ languages, sentiment, categories, engagement_rate: engagement }) {
  return h('section', { class: 'panel aggregate' },
    h('p', { class: 'score' }, h('strong', {}, percent(engagement ?? 0)), ' engagement: likes and comments of a post, divided by the followers'),
    h('div', { class: 'shares-row' },
      shares('Languages', byShare(languages)),
      shares('Sentiment', byShare(sentiment)),
      shares('Categories', byShare(categories))));
}

const judgement = ({ label, score, unsure } = {}) => (label ? [label, ' ', h('span', { class: 'hint' }, `${percent(score)}${unsure ? ', unsure' : ''}`)] : '–');
const maybe = (value) => (value === undefined || value === null ? '–' : number(value));

function imagesWords(images = []) {
  const missing = images.filter((image) => image.error).length;
  return missing ? `${number(images.length)} (${number(missing)} missing)` : number(images.length);
}

const COLUMNS = [
  { head: 'Post', look: 'post', show: ({ text, id }) => (text ? h('span', { title: text }, text) : h('span', { class: 'hint' }, `${id}, without text`)) },
  { head: 'At', look: 'low', show: ({ at }) => (at ? time(at) : '–') },
  { head: 'Language', show: ({ language }) => language },
  { head: 'Sentiment', show: ({ sentiment }) => judgement(sentiment) },
  { head: 'Category', show: ({ category }) => judgement(category) },
  { head: 'Likes', look: 'figure low', show: ({ likes }) => maybe(likes) },
  { head: 'Comments', look: 'figure low', show: ({ comments }) => maybe(comments) },
  { head: 'Images', look: 'figure', show: ({ images }) => imagesWords(images) },
];

function postsTable(posts) {
  const holder = h('div', {});
  const fill = (rows) => holder.replaceChildren(
    table({ id: 'posts', caption: `Posts: ${number(rows.length)} of ${number(posts.length)}`, columns: COLUMNS, rows, key: (post) => post.id, empty: 'No posts.' }),
    rows.length < posts.length ? h('button', { id: 'all-posts', type: 'button', on: { click: () => fillAll() } }, 'Show all posts') : '');
  const fillAll = () => {
    fill(posts);
    $('posts').closest('.scroll').focus({ preventScroll: true });
  };
  fill(posts.slice(0, POSTS));
  return holder;
}

function rawJson(result) {
  const text = h('pre', { tabindex: '0', 'aria-label': 'The result as JSON' });
  // Large results are rendered only on demand.
  const toggle = () => {
    if (details.open && !text.firstChild) text.textContent = JSON.stringify(result, null, 2);
  };
  const details = h('details', { id: 'raw-result', on: { toggle } }, h('summary', {}, 'As JSON'), text);
  return details;
}

export function resultView(result) {
  const { name, version, fallback } = result.model ?? {};
  return h('section', { id: 'result', class: 'result', 'aria-labelledby': 'result-title' },
    h('h2', { id: 'result-title' }, 'Result'),
    fallback
      ? h('p', { class: 'notice', id: 'fallback' }, h('strong', {}, 'Fallback: '), 'rules classified some posts, because the model was unavailable. The model’s result replaces this one when it is available again.')
      : name && h('p', { class: 'hint' }, `Model ${name}, version ${version}.`),
    h('div', { class: 'panels' },
      profilePanel(result.profile ?? {}),
      aggregatePanel(result.aggregate ?? {})),
    postsTable(result.posts ?? []),
    rawJson(result));
}
