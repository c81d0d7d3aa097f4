"""The Celery peer: a no-op task with late acknowledgement and its result in PostgreSQL."""

import os

from celery import Celery

app = Celery("tasks", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_acks_late=True,
    # Far more than the default of 4: prefetching makes short tasks fast.
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "128")),
    worker_hijack_root_logger=False,
    task_serializer="json",
    broker_connection_retry_on_startup=True,
    broker_pool_limit=10,
    # No task needs these.
    worker_send_task_events=False,
    task_send_sent_event=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
if "BENCH_RESULTS" in os.environ:
    app.conf.update(
        result_backend="db+" + os.environ["BENCH_RESULTS"],
        database_short_lived_sessions=False,
        result_expires=None,
    )
else:
    app.conf.task_ignore_result = True


@app.task(name="analyse")
def analyse(job_id):
    return job_id
