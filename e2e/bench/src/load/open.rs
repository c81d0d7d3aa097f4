use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::LocalSet, time::timeout};

use super::{Connection, Plan, Tally, Traffic};

/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(10);

/// The moments at which requests were due and nobody has sent them yet.
struct Due {
    moments: Mutex<VecDeque<Instant>>,
    count: Semaphore,
}

/// Sends `rate` requests a second, evenly, each on whichever connection is free. Latency counts from the moment at which a request was due, so that a
/// server that stalls is charged for all who would have come meanwhile.
///
/// # Errors
/// A connection that cannot be opened. One that breaks or stays silent is a lost request, and opened again.
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
        local.spawn_local(ask(connection, traffic.clone(), tally.clone(), due.clone(), counted));
    }
    local.await;
    clock.join().expect("the clock does not panic");
    let mut tally = Rc::into_inner(tally).expect("the connections are done with it").into_inner();
    let left = std::mem::take(&mut *due.moments.lock().unwrap_or_else(PoisonError::into_inner));
    for moment in left.into_iter().filter(|moment| *moment >= counted) {
        tally.lost(moment.elapsed());
    }
    tally.elapsed = plan.duration;
    Ok(tally)
}

/// Makes requests due. A thread of its own, since the runtime's timer only knows whole milliseconds.
fn tick(due: &Due, began: Instant, rate: f64, duration: Duration) {
    for n in 0_u32.. {
        let at = Duration::from_secs_f64(f64::from(n) / rate);
        if at >= duration {
            break;
        }
        let moment = began + at;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        due.moments.lock().unwrap_or_else(PoisonError::into_inner).push_back(moment);
        due.count.add_permits(1);
    }
    // Those who have asked by now still get their answers; those who wait for work are sent home.
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !due.moments.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    due.count.close();
}

async fn ask(
    mut connection: Connection,
    traffic: Rc<dyn Traffic>,
    tally: Rc<RefCell<Tally>>,
    due: Arc<Due>,
    counted: Instant,
) {
    let mut request = Vec::new();
    while let Ok(permit) = due.count.acquire().await {
        permit.forget();
        let moment = due.moments.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(moment) = moment else { return };
        request.clear();
        traffic.write(&mut request);
        let status = match timeout(PATIENCE, connection.exchange(&request)).await {
            Ok(Ok(answer)) => Some(answer.status),
            Ok(Err(_)) | Err(_) => None,
        };
        if moment >= counted {
            match status {
                Some(status) => tally.borrow_mut().answered(status, moment.elapsed()),
                None => tally.borrow_mut().lost(moment.elapsed()),
            }
        }
        if status.is_none() {
            // What comes out of the old one later belongs to nobody.
            match connection.again().await {
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

    /// Answers one connection; the first answer only after `stall`.
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
    async fn a_stall_is_charged_to_everyone_who_would_have_come_meanwhile() {
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
        // 60 of the 100 were due while the server slept, the last of them just before its end.
        assert!(tally.quantile_ms(0.99) > 500.0, "{}", tally.quantile_ms(0.99));
        assert!(tally.quantile_ms(0.7) > 200.0, "{}", tally.quantile_ms(0.7));
    }
}
