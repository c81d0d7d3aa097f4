"""The FastAPI peer: a handoff with the same checks as Switchyard's, in one transaction, then a
Celery task.

Celery sends the task through Redis.
"""

import datetime
import hashlib
import os
import time
import uuid
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import orjson
import redis.asyncio as redis
from fastapi import FastAPI, Header, Response
from pydantic import BaseModel, Field
from tasks import analyse
from tasks import app as celery

TIERS = {"enterprise": {"concurrent": 1_000_000, "daily": None, "price": 5, "lane": "critical"}}
CAPACITY = 1_000_000

FIND = """
select t.id, t.tier, t.credits, t.running, t.day, t.today
from api_keys k join tenants t on t.id = k.tenant_id
where k.hash = $1 and k.revoked_at is null
for update of t
"""
KNOWN = "select request_hash, job_id, created_at from idempotency where tenant_id = $1 and key = $2 and created_at > now() - interval '24 hours'"
# All writes in one statement. After FIND and KNOWN this takes one more round trip and the commit.
ADMIT = """
with paid as (
    update tenants set credits = credits - $3, running = running + 1, day = $4, today = $5 where id = $1 returning credits
), job as (
    insert into jobs (id, tenant_id, username, input, lane, state, price) values ($2, $1, $6, $7, $8, 'queued', $3) returning created_at
), charge as (
    insert into ledger (tenant_id, job_id, kind, amount) values ($1, $2, 'charge', -$3)
), remembered as (
    insert into idempotency (tenant_id, key, request_hash, job_id) select $1, $9, $10, $2 where $9::text is not null
    on conflict (tenant_id, key) do update set request_hash = excluded.request_hash, job_id = excluded.job_id, created_at = now()
)
select paid.credits, job.created_at from paid, job
"""


@asynccontextmanager
async def lifespan(app: FastAPI):
    size = int(os.environ.get("BENCH_POOL", "8"))
    app.state.database = await asyncpg.create_pool(
        os.environ["BENCH_DATABASE"], min_size=size, max_size=size
    )
    app.state.cache = redis.from_url(os.environ["BENCH_REDIS"])
    # Opens the connection to the broker before the first request.
    app.state.producer = celery.producer_pool.acquire()
    yield
    app.state.producer.release()
    await app.state.database.close()
    await app.state.cache.aclose()


app = FastAPI(lifespan=lifespan, openapi_url=None)


class AnalysisRequest(BaseModel):
    username: str = Field(pattern=r"^@?[A-Za-z0-9._-]{1,64}$")
    force_refresh: bool = False


def answer(status: int, body: dict, headers: dict | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


def refusal(status: int, code: str, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
    return Response(
        orjson.dumps({"type": code, "status": status}), status, headers, "application/problem+json"
    )


def accepted(
    job: uuid.UUID,
    username: str,
    lane: str,
    at: datetime.datetime,
    charged: int,
    balance: int | None,
) -> Response:
    document = {
        "id": str(job),
        "state": "queued",
        "lane": lane,
        "username": username,
        "attempt": 0,
        "progress": 0,
        "created_at": at,
    }
    return answer(
        202,
        {"job": document, "credits": {"charged": charged, "balance": balance}},
        {"Location": f"/v1/jobs/{job}"},
    )


@app.get("/readyz")
async def ready() -> Response:
    return answer(200, {})


@app.post("/v1/analyses")
async def submit(
    request: AnalysisRequest,
    authorization: Annotated[str, Header()],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    username = request.username.lstrip("@").lower()
    key = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
    # Looks up the result and the lane's depth in one round trip.
    pipeline = app.state.cache.pipeline(transaction=False)
    pipeline.get(f"result:{username}")
    pipeline.llen("celery")
    found, queued = await pipeline.execute()
    async with app.state.database.acquire() as connection:
        if found is not None and not request.force_refresh:
            if await connection.fetchrow(FIND.replace("for update of t", ""), key) is None:
                return refusal(401, "unauthenticated")
            entry = orjson.loads(found)
            body = {"result": entry["result"], "age_seconds": int(time.time()) - entry["at"]}
            return answer(200, body, {"X-Cache": "hit"})
        request_hash = hashlib.sha256(orjson.dumps([username, request.force_refresh])).digest()
        async with connection.transaction():
            tenant = await connection.fetchrow(FIND, key)
            if tenant is None:
                return refusal(401, "unauthenticated")
            if idempotency_key is not None:
                known = await connection.fetchrow(KNOWN, tenant["id"], idempotency_key)
                if known is not None:
                    if known["request_hash"] != request_hash:
                        return refusal(409, "idempotency-conflict")
                    return accepted(
                        known["job_id"],
                        username,
                        "critical",
                        known["created_at"],
                        0,
                        tenant["credits"],
                    )
            tier = TIERS[tenant["tier"]]
            if tenant["running"] >= tier["concurrent"]:
                return refusal(429, "concurrent-limit", 1)
            today = datetime.datetime.now(datetime.UTC).date()
            count = tenant["today"] if tenant["day"] == today else 0
            if tier["daily"] is not None and count >= tier["daily"]:
                return refusal(429, "daily-limit", 3600)
            if queued >= CAPACITY:
                return refusal(429, "lane-full", 1)
            if tenant["credits"] < tier["price"]:
                return refusal(402, "insufficient-credits")
            job = uuid.uuid4()
            document = orjson.dumps(
                {"username": username, "force_refresh": request.force_refresh}
            ).decode()
            row = await connection.fetchrow(
                ADMIT,
                tenant["id"],
                job,
                tier["price"],
                today,
                count + 1,
                username,
                document,
                tier["lane"],
                idempotency_key,
                request_hash,
            )
    # After the commit, so that the worker finds the job.
    analyse.apply_async((str(job),), producer=app.state.producer, ignore_result=True)
    return accepted(job, username, tier["lane"], row["created_at"], tier["price"], row["credits"])
