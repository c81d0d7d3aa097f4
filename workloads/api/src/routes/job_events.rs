//! The events of a job, from a sequence number to the final state, as Server-Sent Events or over a
//! WebSocket.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Bytes,
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
use mediatype::{MediaType, MediaTypeList};
use serde::{Deserialize, Serialize};
use switchyard_jobs::model::{Event, JobId};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Caller,
    http::{
        concurrency::StreamPermit,
        input::{Path, Query},
        metrics::WatcherGuard,
        problem::Problem,
    },
    state::App,
};

/// The media type of Server-Sent Events.
const EVENT_STREAM: MediaType<'static> =
    MediaType::new(mediatype::names::TEXT, mediatype::Name::new_unchecked("event-stream"));
/// Interval of keep-alives on an idle stream, so that proxies do not close it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time for a client to receive one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message of a client, in bytes: clients send only pings and a close.
const INBOUND_LIMIT: usize = 4 * 1024;

/// A change of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Sequence number within the job, from 1 without gaps.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub job: Uuid,
    #[schema(schema_with = crate::views::state_schema)]
    pub state: String,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i16,
    /// The current step of the work.
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

/// Where the stream starts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Resume {
    /// The last sequence number that the client has; the stream starts after it. Without it the
    /// stream starts with the first event.
    #[param(minimum = 0)]
    after: Option<i64>,
}

/// Watch a job.
///
/// With `Accept: text/event-stream` the response is a stream of Server-Sent Events: `data` is an
/// event, `id` its sequence number. With a WebSocket handshake each text message is an event. A
/// client resumes with `Last-Event-ID` or `?after=`. The `EventSource` of browsers cannot send the
/// key: read the stream with `fetch` instead. A stream ends after the final state of the job; a
/// WebSocket closes with 1000 then, and with 1001 when the server shuts down.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "watch_job",
    tag = "jobs",
    params(
        ("id" = Uuid, Path, description = "The job"),
        Resume,
        ("Last-Event-ID" = Option<String>, Header, description = "As `after`, which takes precedence"),
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
        return Err(Problem::invalid(
            "Accept",
            "must be text/event-stream, unless the request is a WebSocket handshake",
        ));
    }
    let permit = app.streams.acquire(caller.tenant)?;
    let job = JobId(id);
    app.store.job(caller.tenant, job).await?.ok_or_else(|| Problem::not_found("job"))?;
    let events = app.hub.watch(Some(caller.tenant), job, after).boxed();
    let stop = app.streams_end.clone();
    Ok(match upgrade {
        Ok(upgrade) => {
            let open = OpenStream(permit, app.metrics().watcher("websocket"));
            let upgrade = upgrade.max_message_size(INBOUND_LIMIT).max_frame_size(INBOUND_LIMIT);
            let sockets = app.sockets.clone();
            upgrade.on_upgrade(move |socket| sockets.track_future(serve_socket(socket, events, stop, open)))
        }
        Err(_) => stream(events, stop, OpenStream(permit, app.metrics().watcher("sse"))),
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
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|accept| MediaTypeList::new(accept).flatten().any(|media| media.essence() == EVENT_STREAM))
}

/// Held while a stream is open: its permit, and its count in the metrics.
#[expect(dead_code, reason = "released when it is dropped")]
struct OpenStream(StreamPermit, WatcherGuard);

/// Server-Sent Events. The stream ends after the final event, when its source fails, or with
/// `stop`.
fn stream(events: BoxStream<'static, Event>, stop: CancellationToken, open: OpenStream) -> Response {
    let items = events.take_until(stop.cancelled_owned()).map(move |event| {
        let _open = &open;
        let seq = event.seq;
        Ok::<_, Infallible>(sse::Event::default().id(seq.to_string()).data(EventView::from(event).json()))
    });
    let mut response = Sse::new(items).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Proxies must not buffer a live stream.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Why a WebSocket ends.
enum End {
    /// The job is in its final state, and every event was sent.
    Finished,
    /// The server shuts down.
    GoingAway,
    /// The client closed the connection or does not read.
    ClientGone,
}

async fn serve_socket(
    socket: WebSocket,
    events: BoxStream<'static, Event>,
    stop: CancellationToken,
    _open: OpenStream,
) {
    let (mut sink, mut inbound) = socket.split();
    let end = send_events(&mut sink, &mut inbound, events, &stop).await;
    let (code, reason) = match end {
        End::Finished => (close_code::NORMAL, "the job has finished"),
        End::GoingAway => (close_code::AWAY, "the server shuts down; resume with ?after="),
        End::ClientGone => return,
    };
    let close = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            // The close frame of the client completes the handshake.
            while inbound.next().await.is_some_and(|message| message.is_ok()) {}
        }
    };
    let _ = tokio::time::timeout(SEND_TIMEOUT, close).await;
}

async fn send_events<S, E>(
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
            received = inbound.next() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return End::ClientGone,
                Some(Ok(_)) => continue,
            },
            event = events.next() => match event {
                Some(event) => Message::Text(EventView::from(event).json().into()),
                None => return End::Finished,
            },
            _ = heartbeat.tick() => Message::Ping(Bytes::default()),
        };
        match tokio::time::timeout(SEND_TIMEOUT, sink.send(message)).await {
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
    fn stream_starts_after_the_last_seen_event() {
        let last = headers("last-event-id", "7");
        assert_eq!(starting_point(&Resume::default(), &HeaderMap::new()).unwrap(), 0);
        assert_eq!(starting_point(&Resume::default(), &last).unwrap(), 7);
        assert_eq!(starting_point(&Resume { after: Some(9) }, &last).unwrap(), 9);
        assert!(starting_point(&Resume { after: Some(-1) }, &last).is_err());
        assert!(starting_point(&Resume::default(), &headers("last-event-id", "x")).is_err());
    }

    #[test]
    fn accept_requests_an_event_stream() {
        assert!(accepts_event_stream(&headers("accept", "text/html, text/event-stream;q=0.9")));
        assert!(!accepts_event_stream(&headers("accept", "*/*")));
    }
}
