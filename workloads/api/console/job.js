// One job: its state, timeline, parts and result.

import { Problem, events, get } from './api.js';
import { progress } from './bar.js';
import { cancel, discard, replay } from './commands.js';
import { copy } from './copy.js';
import { h } from './dom.js';
import { failuresTable } from './failures.js';
import { jobLedger } from './ledger.js';
import { poller, visible } from './live.js';
import { learn, tenantLink } from './names.js';
import { partsTable } from './parts.js';
import { resultView } from './result.js';
import { announce } from './say.js';
import { session } from './session.js';
import { badge, isFinal } from './state.js';
import { between, duration, time } from './words.js';

const detail = (words, value, look) => value !== undefined && h('div', { 'data-key': words, class: look }, h('dt', {}, words), h('dd', {}, value));

const copyable = (id, value) => [h('code', { id }, value), ' ', h('button', { type: 'button', class: 'quiet small', 'data-action': 'copy', 'data-value': value, 'aria-label': `Copy ${id.replace('-', ' ')}` }, 'Copy')];

function detailsPanel({ job, worker, trace }) {
  return h('section', { class: 'panel', 'data-key': 'details', 'aria-label': 'State' },
    h('div', { class: 'job-state' },
      h('span', { id: 'job-state', 'data-state': job.state }, badge(job.state)),
      progress({ value: job.progress, label: 'Progress', state: job.state }),
      !isFinal(job.state) && job.stage && h('span', { 'data-key': 'stage' }, job.stage)),
    job.error && h('p', { class: 'problem', 'data-key': 'error', id: 'job-error' }, h('span', { class: 'code' }, job.error.code), ' ', job.error.message),
    h('dl', { class: 'details' },
      detail('Lane', job.lane),
      detail('Attempt', String(job.attempt)),
      job.tenant && detail('Tenant', tenantLink(job.tenant)),
      detail('Created', time(job.created_at)),
      job.finished_at && detail('Finished', time(job.finished_at)),
      detail(job.finished_at ? 'Duration' : 'Running for', duration(between(job.created_at, job.finished_at))),
      worker && detail('Worker', h('code', {}, worker), 'line'),
      detail('Job', copyable('job-id', job.id), 'line'),
      trace && detail('Trace', copyable('trace-id', trace), 'line')));
}

const button = (action, id, words, look) => h('button', { type: 'button', id, class: look, 'data-action': action, 'data-key': action }, words);

function buttons({ state }) {
  if (!isFinal(state)) return [button('cancel', 'cancel-job', 'Cancel job', 'danger')];
  if (state === 'dead' && session.admin) return [button('replay', 'replay', 'Replay', 'primary'), button('discard', 'discard', 'Discard', 'danger')];
  return [];
}

function timelinePanel(steps) {
  const lines = steps.map((step, place) => h('li', { 'data-key': step.seq },
    badge(step.state),
    h('span', { class: 'timeline-words' }, [step.stage, step.progress > 0 && `${step.progress} %`].filter(Boolean).join(', ')),
    h('span', { class: 'hint' }, place ? `+${duration(between(steps[place - 1].at, step.at))}` : ''),
    time(step.at)));
  return h('section', { class: 'panel', 'data-key': 'timeline', 'aria-labelledby': 'timeline-title' },
    h('h2', { id: 'timeline-title' }, 'Timeline'),
    lines.length ? h('ol', { id: 'timeline', class: 'timeline' }, lines) : h('p', { class: 'hint' }, 'No events yet.'));
}

export const job = {
  name: 'job',
  title: 'Job',
  open(page) {
    const base = `${session.admin ? '/admin/v1' : '/v1'}/jobs/${encodeURIComponent(page.id)}`;
    // A result is loaded and rendered once.
    let result;
    let report;
    let before;

    const paint = () => {
      const { job: one, failures, parts, timeline, ledger } = report;
      page.title(`@${one.username}`);
      page.actions(buttons(one));
      page.show(
        h('div', { class: 'panels', 'data-key': 'panels' }, detailsPanel(report), timelinePanel(timeline)),
        parts && partsTable(one, parts),
        failures && (failures.length > 0 || parts.some((part) => part.failures.length > 0)) && failuresTable({ failures, parts }),
        ledger && jobLedger(ledger),
        h('div', { 'data-key': 'result', 'data-kept': true }));
      const place = document.querySelector('#view > [data-key=result]');
      if (result && !result.isConnected) place.replaceChildren(result);
      if (before && before !== one.state) announce(`The job is ${one.state}.`);
      before = one.state;
    };

    const findResult = async () => {
      if (result || report.job.state !== 'completed') return;
      try {
        result = resultView(await get(`${base}/result`, { signal: page.signal }));
      } catch (problem) {
        if (page.signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        result = h('p', { class: 'problem' }, `The result cannot be shown: ${problem.text}`);
      }
      paint();
    };

    const followAsAdmin = () => {
      const polled = page.live((signal) => get(base, { signal }), async (answer) => {
        report = answer;
        paint();
        findResult();
        if (await learn([answer.job.tenant], page.signal)) paint();
      }, { until: (answer) => isFinal(answer.job.state) });
      return polled.again;
    };

    /**
     * Follows the event stream. The job, which has more fields, is loaded before the first event
     * and after the last.
     */
    const followAsTenant = () => {
      let last = 0;
      let wake = () => {};
      const self = poller(page.signal, () => wake());
      const refresh = async () => {
        const answer = await get(base, { signal: page.signal });
        report = { job: answer, timeline: report?.timeline ?? [] };
        paint();
        findResult();
      };
      const listen = async () => {
        const away = new AbortController();
        // A hidden tab closes its connection: browsers limit the connections to one host.
        const leave = () => document.hidden && away.abort();
        document.addEventListener('visibilitychange', leave);
        try {
          for await (const event of events(`${base}/events?after=${last}`, AbortSignal.any([page.signal, away.signal]))) {
            last = event.seq;
            report.timeline.push(event);
            Object.assign(report.job, { state: event.state, progress: event.progress, stage: event.stage });
            paint();
          }
        } catch (problem) {
          if (!away.signal.aborted) throw problem;
        } finally {
          document.removeEventListener('visibilitychange', leave);
        }
      };
      const run = async () => {
        for (let ended = false; !ended;) {
          let wait = 1000;
          try {
            await visible(page.signal);
            await refresh();
            self.succeeded();
            ended = isFinal(report.job.state);
            await listen();
          } catch (problem) {
            if (page.signal.aborted) return;
            if (!(problem instanceof Problem)) throw problem;
            if (!problem.transient) {
              self.stopped();
              page.refuse(problem);
              return;
            }
            ended = false;
            wait = self.failed(problem);
          }
          if (!ended) {
            await new Promise((resolve) => {
              wake = resolve;
              setTimeout(resolve, wait);
            });
          }
        }
        self.stopped();
      };
      run();
      return refresh;
    };

    const again = session.admin ? followAsAdmin() : followAsTenant();
    const command = (act, after = again) => async () => {
      if (await act()) await after();
    };
    Object.assign(page.acts, {
      copy: ({ value }) => copy(value),
      cancel: command(() => cancel(report.job, base)),
      replay: command(() => replay(report.job)),
      discard: command(() => discard(report.job), () => {
        location.hash = '#/dead';
      }),
    });
  },
};
