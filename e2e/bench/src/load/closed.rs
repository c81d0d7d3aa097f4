use std::{cell::RefCell, io, rc::Rc};

use tokio::{
    task::LocalSet,
    time::{Instant, timeout_at},
};

use super::{Connection, Plan, Tally, Traffic};

/// Sends the next request on each connection as soon as the last one was answered.
///
/// # Errors
/// A connection that cannot be opened. One that breaks is a lost request, and opened again.
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
        .map(|connection| local.spawn_local(ask(connection, traffic.clone(), tally.clone(), counted, end)))
        .collect();
    local.await;
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let mut tally = Rc::into_inner(tally).expect("the connections are done with it").into_inner();
    tally.elapsed = plan.duration;
    Ok(tally)
}

async fn ask(
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
        // What is still under way at the end is neither slow nor lost.
        let Ok(answer) = timeout_at(end, connection.exchange(&request)).await else { return Ok(()) };
        let status = answer.map(|answer| answer.status);
        let now = Instant::now();
        if now >= counted {
            match status {
                Ok(status) => tally.borrow_mut().answered(status, now - sent),
                Err(_) => tally.borrow_mut().lost(now - sent),
            }
        }
        if status.is_err() {
            connection = connection.again().await?;
        }
    }
}
