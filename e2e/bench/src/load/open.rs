//! The open loop: requests are due at a fixed rate, whatever the responses do.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::LocalSet, time::timeout};

use super::{
    connection::Connection,
    plan::{Plan, Traffic},
    tally::Tally,
};

/// Longest wait for a response, and for the queue to empty after the last request was due.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that are due and not yet sent.
struct Due {
    /// When each was due, the oldest first.
    moments: Mutex<VecDeque<Instant>>,
    count: Semaphore,
}

/// Sends `rate` requests per second, evenly spaced, each on any free connection.
///
/// Latency counts from the moment at which a request was due. So a server that stalls is charged
/// for every request that was due during the stall, which avoids coordinated omission.
///
/// # Errors
/// A connection cannot be opened. A connection that breaks or stays silent counts as a lost request
/// and is reopened.
pub async fn open(plan: Plan, rate: f64, traffic: Rc<dyn Traffic>) -> io::Result<Tally> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.address).await?);
    }
    let due = Arc::new(Due { moments: Mutex::default(), count: Semaphore::new(0) });
    let began = Instant::now();
    let counted = began + plan.warm_up;
    let clock = thread::spawn({
        let due = due.clone();
        move || tick(&due, began, rate, plan.warm_up + plan.duration)
    });
    let tally = Rc::new(RefCell::new(Tally::new()));
    let local = LocalSet::new();
    for connection in connections {
        local.spawn_local(send_requests(connection, traffic.clone(), tally.clone(), due.clone(), counted));
    }
    local.await;
    clock.join().expect("the clock thread does not panic");
    let mut tally = Rc::into_inner(tally).expect("all connections have ended").into_inner();
    let left = std::mem::take(&mut *due.moments.lock());
    for moment in left.into_iter().filter(|moment| *moment >= counted) {
        tally.record_lost(moment.elapsed());
    }
    tally.elapsed = plan.duration;
    Ok(tally)
}

/// Makes requests due. Runs on its own thread because the runtime's timer has a resolution of one
/// millisecond.
fn tick(due: &Due, began: Instant, rate: f64, duration: Duration) {
    for n in 0_u32.. {
        let at = Duration::from_secs_f64(f64::from(n) / rate);
        if at >= duration {
            break;
        }
        let moment = began + at;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        due.moments.lock().push_back(moment);
        due.count.add_permits(1);
    }
    // Requests in flight still get their responses. Idle connections end when the semaphore closes.
    let until = Instant::now() + RESPONSE_TIMEOUT;
    while Instant::now() < until && !due.moments.lock().is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    due.count.close();
}

async fn send_requests(
    mut connection: Connection,
    traffic: Rc<dyn Traffic>,
    tally: Rc<RefCell<Tally>>,
    due: Arc<Due>,
    counted: Instant,
) {
    let mut request = Vec::new();
    while let Ok(permit) = due.count.acquire().await {
        permit.forget();
        let moment = due.moments.lock().pop_front();
        let Some(moment) = moment else { return };
        request.clear();
        traffic.write(&mut request);
        let status = match timeout(RESPONSE_TIMEOUT, connection.exchange(&request)).await {
            Ok(Ok(response)) => Some(response.status),
            Ok(Err(_)) | Err(_) => None,
        };
        if moment >= counted {
            match status {
                Some(status) => tally.borrow_mut().record_response(status, moment.elapsed()),
                None => tally.borrow_mut().record_lost(moment.elapsed()),
            }
        }
        if status.is_none() {
            // A late response on the old connection would be taken for the next request's.
            match connection.reconnect().await {
                Ok(new) => connection = new,
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::sleep,
    };

    use super::*;

    struct Ping;

    impl Traffic for Ping {
        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"ping");
        }
    }

    /// Serves one connection; the first response waits for `stall`.
    async fn stalling(listener: TcpListener, stall: Duration) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4];
        let mut wait = stall;
        while stream.read_exact(&mut request).await.is_ok() {
            sleep(std::mem::take(&mut wait)).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    }

    #[tokio::test]
    async fn stall_is_charged_to_every_request_due_during_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan {
            address: listener.local_addr().unwrap(),
            connections: 1,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
        };
        let server = tokio::spawn(stalling(listener, Duration::from_millis(600)));
        let tally = open(plan, 100.0, Rc::new(Ping)).await.unwrap();
        server.abort();
        assert_eq!(tally.count(200), 100);
        // 60 of the 100 were due during the stall, the last of them just before its end.
        assert!(tally.quantile_ms(0.99) > 500.0, "{}", tally.quantile_ms(0.99));
        assert!(tally.quantile_ms(0.7) > 200.0, "{}", tally.quantile_ms(0.7));
    }
}
