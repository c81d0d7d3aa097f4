//! The closed loop: each connection sends its next request as soon as the last response arrives.

use std::{cell::RefCell, io, rc::Rc};

use tokio::{
    task::LocalSet,
    time::{Instant, timeout_at},
};

use super::{
    connection::Connection,
    plan::{Plan, Traffic},
    tally::Tally,
};

/// Sends the next request on each connection as soon as the last response arrived.
///
/// # Errors
/// A connection cannot be opened. A connection that breaks counts as a lost request and is
/// reopened.
pub async fn closed(plan: Plan, traffic: Rc<dyn Traffic>) -> io::Result<Tally> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.address).await?);
    }
    let tally = Rc::new(RefCell::new(Tally::new()));
    let counted = Instant::now() + plan.warm_up;
    let end = counted + plan.duration;
    let local = LocalSet::new();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| local.spawn_local(send_requests(connection, traffic.clone(), tally.clone(), counted, end)))
        .collect();
    local.await;
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let mut tally = Rc::into_inner(tally).expect("all connections have ended").into_inner();
    tally.elapsed = plan.duration;
    Ok(tally)
}

async fn send_requests(
    mut connection: Connection,
    traffic: Rc<dyn Traffic>,
    tally: Rc<RefCell<Tally>>,
    counted: Instant,
    end: Instant,
) -> io::Result<()> {
    let mut request = Vec::new();
    loop {
        request.clear();
        traffic.write(&mut request);
        let sent = Instant::now();
        // A request in flight at the end counts neither as slow nor as lost.
        let Ok(response) = timeout_at(end, connection.exchange(&request)).await else { return Ok(()) };
        let status = response.map(|response| response.status);
        let now = Instant::now();
        if now >= counted {
            match status {
                Ok(status) => tally.borrow_mut().record_response(status, now - sent),
                Err(_) => tally.borrow_mut().record_lost(now - sent),
            }
        }
        if status.is_err() {
            connection = connection.reconnect().await?;
        }
    }
}
