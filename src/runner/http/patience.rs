//! How long the head of an answer is waited for: as long as the runner shows signs of life.
//!
//! A runner that has the call and is silent may be working, or hung, or stopped. An agent can be asked, over another connection, whether
//! it has the call in hand. A plain server cannot, nor be told how long a call may take: there the function's own timeout is the limit, and a little more, so that its own word of it
//! comes first; or the time that the client gave.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connections::Connections;
use super::question;
use super::watch::Watch;
use crate::model::{CallId, Outcome, format_duration};
use crate::telemetry::turn;

/// The runner was silent for too long.
pub(super) struct Silent {
    /// Whose time was over.
    pub(super) outcome: Outcome,
    /// For how long, and what was tried.
    pub(super) detail: String,
}

/// How long the head of an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// So long.
    Limited(Duration),
    /// Until the client has given up.
    Until(Instant),
    /// As long as the agent says that it has the call.
    Asking {
        /// The call.
        call: CallId,
        /// After how much silence the agent is asked, and how long it may take to answer that.
        interval: Duration,
    },
}

impl Patience {
    /// Polls until there is a head. Dropping the future gives up. The watch is that of the connection, made when it is first needed.
    pub(super) async fn wait_for<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send,
        watch: &mut Option<Watch>,
        connections: &Arc<Connections>,
    ) -> Result<T, Silent> {
        // No clock is looked at for what is there already.
        if let Poll::Ready(head) = poll_fn(|cx| Poll::Ready(poll(cx))).await {
            return Ok(head);
        }
        let now = turn::now();
        let deadline = match self {
            Self::Limited(limit) | Self::Asking { interval: limit, .. } => now + *limit,
            Self::Until(deadline) => *deadline,
        };
        // It was polled just now, by the same task.
        let mut is_first = true;
        let first = poll_fn(|cx| {
            if !std::mem::take(&mut is_first)
                && let Poll::Ready(head) = poll(cx)
            {
                return Poll::Ready(Some(head));
            }
            poll_over(watch, deadline, cx).map(|()| None)
        });
        if let Some(head) = first.await {
            return Ok(head);
        }
        match self {
            Self::Until(_) => Err(Silent {
                outcome: Outcome::DeadlineExceeded,
                detail: format!(
                    "runner {} took the call and did not begin to answer in the time that was left",
                    connections.address()
                ),
            }),
            Self::Limited(limit) => Err(Silent {
                outcome: Outcome::RunnerTimeout,
                detail: format!(
                    "runner {} took the call and did not begin to answer in {}",
                    connections.address(),
                    format_duration(*limit)
                ),
            }),
            // On the heap, as it is rare and large.
            Self::Asking { call, interval } => Box::pin(wait_asking(poll, connections, *call, *interval)).await,
        }
    }
}

/// Ready at the deadline. The watch learns of it when the task will not be woken before by itself: of a call that is answered soon it never hears.
fn poll_over(watch: &mut Option<Watch>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if turn::is_woken_before(deadline, cx) {
        return Poll::Pending;
    }
    let now = turn::now();
    let watch = watch.get_or_insert_with(|| Watch::new(now, deadline.saturating_duration_since(now)));
    watch.set(deadline);
    watch.poll_expired(cx)
}

/// Asks the agent each time that an interval went by in silence.
async fn wait_asking<T>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send,
    connections: &Arc<Connections>,
    call: CallId,
    interval: Duration,
) -> Result<T, Silent> {
    // Each turn is one sign of life.
    loop {
        tokio::select! {
            biased;
            head = poll_fn(&mut poll) => return Ok(head),
            answer = question::has_call(connections, call, interval) => {
                if let Err(reason) = answer {
                    return Err(Silent {
                        outcome: Outcome::RunnerTimeout,
                        detail: format!(
                            "runner {} took the call and gave no sign of life in {}: {reason}",
                            connections.address(),
                            format_duration(interval)
                        ),
                    });
                }
            }
        }
        if let Ok(head) = timeout(interval, poll_fn(&mut poll)).await {
            return Ok(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::turn::Turn;

    /// How long a task waits for a deadline that is `limit` away, when it is woken every `within` anyway; and whether that took a timer before the end.
    async fn waited(limit: Duration, within: Duration) -> (Duration, bool) {
        let (began, mut watch, mut had_timer) = (Instant::now(), None, false);
        let mut ticks = tokio::time::interval(within);
        poll_fn(|cx| {
            while ticks.poll_tick(cx).is_ready() {}
            let _turn = Turn::begin_woken(cx, within);
            let is_over = poll_over(&mut watch, began + limit, cx);
            had_timer |= is_over.is_pending() && watch.is_some() && began.elapsed() + within < limit;
            is_over
        })
        .await;
        (began.elapsed(), had_timer)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_in_time_and_has_a_timer_only_when_that_is_near() {
        let (within, late) = (Duration::from_secs(5), Duration::from_millis(2));
        for limit in [23, 60, 8].map(Duration::from_secs) {
            let (taken, had_timer) = waited(limit, within).await;
            assert!((limit..=limit + late).contains(&taken), "{limit:?} was noticed after {taken:?}");
            assert!(!had_timer, "{limit:?}");
        }
        let limit = within / 2;
        let (taken, _) = waited(limit, within).await;
        assert!((limit..=limit + late).contains(&taken), "{limit:?} was noticed after {taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_woken_by_others_has_a_timer_at_once() {
        let (limit, began, mut watch) = (Duration::from_secs(60), Instant::now(), None);
        poll_fn(|cx| poll_over(&mut watch, began + limit, cx)).await;
        assert!((limit..=limit + Duration::from_millis(2)).contains(&began.elapsed()));
    }
}
