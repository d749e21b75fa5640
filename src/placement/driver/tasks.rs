//! What tells a living loop of time and of the pool, for as long as the loop lives: none of these holds it while it waits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::broadcast;

use super::live::LiveLoop;
use crate::placement::event::Event;
use crate::placement::moment::Moment;
use crate::pool::RunnerReport;

/// Tells the loop when its timers are due.
pub(super) async fn keep_time(live: Weak<LiveLoop>) {
    loop {
        let Some(strong) = live.upgrade() else { return };
        let next = strong.next_timer();
        strong.timer_at.store(next.map_or(u64::MAX, Moment::as_nanos), Ordering::Relaxed);
        let (epoch, moved) = (strong.epoch, Arc::clone(&strong.timer_moved));
        drop(strong);
        let Some(at) = next else {
            moved.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(epoch + Duration::from_nanos(at.as_nanos())) => {
                let Some(strong) = live.upgrade() else { return };
                strong.tell(&Event::Timer);
                strong.flush_record();
            }
            () = moved.notified() => {}
        }
    }
}

/// Tells the loop of every change of the pool.
pub(super) async fn follow_pool(live: Weak<LiveLoop>) {
    let Some(mut changes) = live.upgrade().and_then(|live| live.pool.changes()) else { return };
    loop {
        {
            let Some(live) = live.upgrade() else { return };
            if let Some(snapshot) = live.pool.current() {
                live.follow(&snapshot);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the loop what runners say about themselves.
pub(super) async fn listen(live: Weak<LiveLoop>, mut reports: broadcast::Receiver<RunnerReport>) {
    loop {
        let report = match reports.recv().await {
            Ok(report) => report,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Some(live) = live.upgrade() else { return };
        live.reported(report);
    }
}
