//! Watching a job: its events from a sequence number on, live, until the final state, as Server-Sent Events or over a WebSocket.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use chrono::{DateTime, Utc};
use futures::{SinkExt, Stream, StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use switchyard_jobs::model::{Event, JobId};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Caller,
    http::concurrency::Watch,
    http::input::{Path, Query},
    http::metrics::WatcherGuard,
    http::problem::Problem,
    state::App,
};

/// How often a silent stream says that it is alive, so that nothing in between closes it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client may take to take one message before it is given up.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// What a client may send: pings and a close.
const INBOUND_LIMIT: usize = 4 * 1024;

/// One change of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Counts from 1 within the job, without gaps.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub job: Uuid,
    #[schema(schema_with = crate::views::state_schema)]
    pub state: String,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i16,
    /// What is being done.
    #[schema(example = "images")]
    pub stage: String,
    pub at: DateTime<Utc>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { seq, job, state, progress, stage, at } = event;
        Self { seq, job: job.0, state, progress, stage, at }
    }
}

impl EventView {
    fn json(self) -> String {
        serde_json::to_string(&self).expect("an event is JSON")
    }
}

/// Where to go on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Resume {
    /// The last sequence number that was seen; the stream goes on after it. Without it the stream begins with the job.
    #[param(minimum = 0)]
    after: Option<i64>,
}

/// Watch a job.
///
/// With `Accept: text/event-stream` the answer is a stream of Server-Sent Events: `data` is an event, `id` its sequence number, so that a
/// browser resumes by itself with `Last-Event-ID`. With a WebSocket handshake each text message is an event. Either ends after the job's
/// final state; a WebSocket then closes with 1000, and with 1001 when this server goes away: connect again with `?after=`.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "watch_job",
    tag = "jobs",
    params(
        ("id" = Uuid, Path, description = "The job"),
        Resume,
        ("Last-Event-ID" = Option<String>, Header, description = "As `after`, for Server-Sent Events; `after` wins"),
    ),
    responses(
        (status = 101, description = "A WebSocket of events"),
        (status = 200, description = "A stream of events", body = EventView, content_type = "text/event-stream"),
    ),
)]
pub async fn watch_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(resume): Query<Resume>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let after = starting_point(&resume, &headers)?;
    let wants_events = accepts_event_stream(&headers);
    if upgrade.is_err() && !wants_events {
        return Err(Problem::invalid("Accept", "must be text/event-stream, or the request a WebSocket handshake"));
    }
    let place = app.watches.enter(caller.tenant)?;
    let events = app.watch(caller.tenant, JobId(id), after).await?;
    let stop = app.streams_end.clone();
    Ok(match upgrade {
        Ok(upgrade) => {
            let open = Open(place, app.metrics.watcher("websocket"));
            let upgrade = upgrade.max_message_size(INBOUND_LIMIT).max_frame_size(INBOUND_LIMIT);
            let sockets = app.sockets.clone();
            upgrade.on_upgrade(move |socket| sockets.track_future(speak(socket, events, stop, open)))
        }
        Err(_) => stream(events, stop, Open(place, app.metrics.watcher("sse"))),
    })
}

fn starting_point(resume: &Resume, headers: &HeaderMap) -> Result<i64, Problem> {
    let not_a_number = |field| Problem::invalid(field, "must be a sequence number, 0 or more");
    if let Some(after) = resume.after {
        return if after >= 0 { Ok(after) } else { Err(not_a_number("after")) };
    }
    let Some(last) = headers.get(HeaderName::from_static("last-event-id")) else { return Ok(0) };
    let last = last.to_str().ok().and_then(|text| text.trim().parse::<i64>().ok());
    last.filter(|seq| *seq >= 0).ok_or_else(|| not_a_number("Last-Event-ID"))
}

fn accepts_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|accept| {
        accept.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == "text/event-stream")
    })
}

/// What an open stream holds: its place, and its count.
#[expect(dead_code, reason = "held, and let go with the stream")]
struct Open(Watch, WatcherGuard);

/// Server-Sent Events. Ends after the final event, when the source breaks, or with `stop`: the client comes back with `Last-Event-ID`.
fn stream(events: BoxStream<'static, Event>, stop: CancellationToken, open: Open) -> Response {
    let items = events.take_until(stop.cancelled_owned()).map(move |event| {
        let _open = &open;
        let seq = event.seq;
        Ok::<_, Infallible>(sse::Event::default().id(seq.to_string()).data(EventView::from(event).json()))
    });
    let mut response = Sse::new(items).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Proxies that gather answers would turn a live stream into a late one.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Why a WebSocket ends.
enum End {
    /// The job has come to its final state, and everything was sent.
    Finished,
    /// The server goes away.
    GoingAway,
    /// The client left or does not read.
    ClientGone,
}

async fn speak(socket: WebSocket, events: BoxStream<'static, Event>, stop: CancellationToken, _open: Open) {
    let (mut sink, mut inbound) = socket.split();
    let end = converse(&mut sink, &mut inbound, events, &stop).await;
    let (code, reason) = match end {
        End::Finished => (close_code::NORMAL, "the job has ended"),
        End::GoingAway => (close_code::AWAY, "connect again with ?after="),
        End::ClientGone => return,
    };
    let farewell = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            // The client's own close completes the handshake.
            while inbound.next().await.is_some_and(|message| message.is_ok()) {}
        }
    };
    let _ = tokio::time::timeout(SEND_PATIENCE, farewell).await;
}

async fn converse<S, E>(
    sink: &mut S,
    inbound: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    mut events: BoxStream<'static, Event>,
    stop: &CancellationToken,
) -> End
where
    S: futures::Sink<Message> + Unpin,
{
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return End::GoingAway,
            said = inbound.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return End::ClientGone,
                Some(Ok(_)) => continue,
            },
            event = events.next() => match event {
                Some(event) => Message::Text(EventView::from(event).json().into()),
                None => return End::Finished,
            },
            _ = heartbeat.tick() => Message::Ping(Default::default()),
        };
        match tokio::time::timeout(SEND_PATIENCE, sink.send(message)).await {
            Ok(Ok(())) => {}
            _ => return End::ClientGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_stream_begins_after_the_number_that_was_seen_last() {
        let last = headers("last-event-id", "7");
        assert_eq!(starting_point(&Resume::default(), &HeaderMap::new()).unwrap(), 0);
        assert_eq!(starting_point(&Resume::default(), &last).unwrap(), 7);
        assert_eq!(starting_point(&Resume { after: Some(9) }, &last).unwrap(), 9);
        assert!(starting_point(&Resume { after: Some(-1) }, &last).is_err());
        assert!(starting_point(&Resume::default(), &headers("last-event-id", "x")).is_err());
    }

    #[test]
    fn event_streams_are_asked_for_by_accept() {
        assert!(accepts_event_stream(&headers("accept", "text/html, text/event-stream;q=0.9")));
        assert!(!accepts_event_stream(&headers("accept", "*/*")));
    }
}
