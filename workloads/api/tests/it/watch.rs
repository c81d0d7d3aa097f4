//! Event streams: Server-Sent Events and WebSockets.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

use crate::fixture::{Client, TestApi};

const PATIENCE: Duration = Duration::from_secs(20);

/// All events of a stream of Server-Sent Events with their ids.
async fn server_sent(tenant: &Client, path: &str, headers: &[(&str, &str)]) -> Vec<(String, Value)> {
    let mut headers = headers.to_vec();
    headers.push(("accept", "text/event-stream"));
    let response = tenant.open(path, &headers).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = timeout(PATIENCE, response.text()).await.expect("the stream did not end").unwrap();
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            (field("id:").to_owned(), serde_json::from_str(field("data:")).unwrap())
        })
        .collect()
}

fn states(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(_, event)| event["state"].as_str().unwrap()).collect()
}

fn without_gaps(events: &[(String, Value)], from: i64) {
    for (seq, (id, event)) in (from..).zip(events) {
        assert_eq!(event["seq"], seq, "{events:?}");
        assert_eq!(*id, seq.to_string());
    }
}

#[tokio::test]
async fn server_sent_events_run_to_the_final_state_and_resume() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit(&api.name("watched")).await;
    let path = format!("/v1/jobs/{id}/events");
    let (events, ()) = tokio::join!(server_sent(&tenant, &path, &[]), api.complete(&id));
    without_gaps(&events, 1);
    assert_eq!(states(&events).first(), Some(&"queued"));
    assert_eq!(states(&events).last(), Some(&"completed"));
    let last = &events.last().unwrap().1;
    assert_eq!((&last["job"], &last["progress"]), (&json!(id), &json!(100)));
    assert!(last["at"].as_str().unwrap().ends_with('Z') || last["at"].as_str().unwrap().ends_with("+00:00"));

    let rest = server_sent(&tenant, &path, &[("last-event-id", "1")]).await;
    assert_eq!(rest, events[1..]);
    let rest = server_sent(&tenant, &format!("{path}?after=1"), &[]).await;
    assert_eq!(rest, events[1..]);
    let after_all = server_sent(&tenant, &format!("{path}?after={}", events.len()), &[]).await;
    assert_eq!(after_all, []);
}

/// All events of a WebSocket, and its close code.
async fn socket_events(api: &TestApi, tenant: &Client, path: &str) -> (Vec<Value>, CloseCode) {
    let mut request = format!("{}{path}", api.url.replace("http://", "ws://")).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", tenant.key).parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let mut events = Vec::new();
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("the socket is silent").unwrap().unwrap() {
            Message::Text(text) => events.push(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => return (events, frame.unwrap().code),
            _ => {}
        }
    }
}

#[tokio::test]
async fn websocket_runs_to_the_final_state_and_resumes() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit(&api.name("socket")).await;
    let path = format!("/v1/jobs/{id}/events");
    let ((events, code), ()) = tokio::join!(socket_events(&api, &tenant, &path), api.complete(&id));
    assert_eq!(code, CloseCode::Normal);
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1_i64..).take(events.len()).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["state"], "completed");

    let (rest, code) = socket_events(&api, &tenant, &format!("{path}?after=2")).await;
    assert_eq!((rest.as_slice(), code), (&events[2..], CloseCode::Normal));
    let (none, code) = socket_events(&api, &tenant, &format!("{path}?after={}", events.len())).await;
    assert_eq!((none.len(), code), (0, CloseCode::Normal));
}

/// The time from a change by a worker to its event.
async fn latency(api: &TestApi, tenant: &Client) -> Duration {
    let id = tenant.submit(&api.name("prompt")).await;
    let address = format!("{}/v1/jobs/{id}/events?after=1", api.url.replace("http://", "ws://"));
    let mut request = address.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", tenant.key).parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let begun = Instant::now();
    api.claim(&id).await;
    let message = timeout(PATIENCE, socket.next()).await.expect("nothing came").unwrap().unwrap();
    let took = begun.elapsed();
    let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    assert_eq!(event["state"], "running");
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    took
}

#[tokio::test]
async fn nineteen_of_twenty_events_arrive_within_250_milliseconds() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 100).await;
    // Until the process is connected to the broker, it polls the store.
    let connected = async {
        while !api.operations("/metrics").await.1.contains("switchyard_broker_connected 1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, connected).await.expect("the process does not connect to the broker");
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(latency(&api, &tenant).await);
    }
    seen.sort_unstable();
    assert!(seen[18] < Duration::from_millis(250), "{seen:?}");
}

#[tokio::test]
async fn watching_requires_an_event_stream_and_a_valid_sequence_number() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let path = format!("/v1/jobs/{}/events", tenant.submit("odd").await);
    tenant.get(&path).await.refusal(422, "invalid-request");
    let streaming = [("accept", "text/event-stream")];
    tenant.get_with(&format!("{path}?after=-1"), &streaming).await.refusal(422, "invalid-request");
    tenant.get_with(&format!("{path}?after=x"), &streaming).await.refusal(422, "invalid-request");
    tenant.get_with(&format!("{path}?before=1"), &streaming).await.refusal(422, "invalid-request");
    api.anonymous().get_with(&path, &streaming).await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn shutdown_closes_event_streams() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let path = format!("/v1/jobs/{}/events", tenant.submit("interrupted").await);
    let streaming_began = Notify::new();
    let watching = async {
        let mut request = format!("{}{path}", api.url.replace("http://", "ws://")).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", tenant.key).parse().unwrap());
        let (mut socket, _) = connect_async(request).await.unwrap();
        let first = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(first.to_text().unwrap().contains("queued"));
        socket.send(Message::Ping("hello".into())).await.unwrap();
        let pong = timeout(PATIENCE, socket.next()).await.expect("no pong came").unwrap().unwrap();
        assert_eq!(pong, Message::Pong("hello".into()));
        streaming_began.notified().await;
        api.stop();
        loop {
            let message = timeout(PATIENCE, socket.next()).await.expect("the socket is silent").unwrap().unwrap();
            if let Message::Close(frame) = message {
                return frame.unwrap().code;
            }
        }
    };
    let streaming = async {
        let mut response = tenant.open(&path, &[("accept", "text/event-stream")]).await;
        let first = timeout(PATIENCE, response.chunk()).await.expect("nothing came").unwrap().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("queued"));
        streaming_began.notify_one();
        while let Some(more) = timeout(PATIENCE, response.chunk()).await.expect("the stream did not end").unwrap() {
            assert!(!String::from_utf8_lossy(&more).contains("data:"), "{more:?}");
        }
    };
    let (code, ()) = tokio::join!(watching, streaming);
    assert_eq!(code, CloseCode::Away);
    api.ended().await;
}

#[tokio::test]
async fn event_streams_are_limited_by_tenant_and_in_all() {
    let api = TestApi::with_options(|_| {}, &["--watches=2", "--watches-per-tenant=1"]).await;
    let watch = async |tenant: &Client, id: &str| {
        tenant.open(&format!("/v1/jobs/{id}/events"), &[("accept", "text/event-stream")]).await
    };
    let tenants = [(); 3].map(|()| api.tenant("standard", 10));
    let mut open = Vec::new();
    for (number, tenant) in futures::future::join_all(tenants).await.into_iter().enumerate() {
        let id = tenant.submit(&api.name("watched")).await;
        let answer = watch(&tenant, &id).await;
        if number == 2 {
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
            // Other requests are served, and a released permit is acquired again.
            tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
            open.clear();
            let acquired = async {
                while watch(&tenant, &id).await.status() != 200 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(PATIENCE, acquired).await.expect("no permit was released");
        } else {
            assert_eq!(answer.status(), 200);
            let second = watch(&tenant, &id).await;
            assert_eq!(second.status(), 429, "one tenant has one permit");
            assert!(second.headers().contains_key("retry-after"));
            open.push(answer);
        }
    }
}
