"""Queues BENCH_JOBS tasks."""

import os
import uuid

from tasks import analyse, app

with app.producer_pool.acquire() as producer:
    for _ in range(int(os.environ["BENCH_JOBS"])):
        analyse.apply_async((str(uuid.uuid4()),), producer=producer)
