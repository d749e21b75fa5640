//! The life of a process that serves: takes wishes, reloads, and ends in order.

use std::pin::pin;
use std::time::Instant;

use super::reload::Reload;
use super::shutdown::{Action, Ending, Event, Shutdown};
use super::signals::{Wish, WishSource};
use crate::config::Loaded;
use crate::front::ShutdownConfig;

/// What a role must be able to do. Dropping it, or the future of [`Service::close`], cuts everything off at once.
pub(super) trait Service {
    /// Says from now on that it is not ready; goes on taking calls.
    fn become_unready(&mut self);

    /// Takes over what can change while it runs: functions, routes, runners. On an error nothing has changed.
    async fn reload(&mut self, loaded: &Loaded) -> anyhow::Result<()>;

    /// Closes the listeners, waits for the calls in flight, and ends everything that it started.
    async fn close(self);
}

/// Leads `service` to its end, and says how that was.
pub(super) async fn live<S: Service>(
    mut service: S,
    wishes: &mut impl WishSource,
    times: &ShutdownConfig,
    mut reload: Reload,
) -> Ending {
    let mut shutdown = Shutdown::new(times);
    'serving: loop {
        let event = tokio::select! {
            biased;
            wish = wishes.next() => match wish {
                Wish::Reload => {
                    reload.run(&mut service).await;
                    continue;
                }
                Wish::Terminate => Event::Terminate,
                Wish::Abandoned => Event::Abandoned,
            },
            () = sleep_until(shutdown.due()) => Event::Due,
        };
        for action in shutdown.step(event, Instant::now()) {
            match action {
                Action::BecomeUnready => {
                    service.become_unready();
                    tracing::info!(grace = ?times.grace, "ending: not ready any more, calls are still taken");
                }
                Action::Close => break 'serving,
            }
        }
        if let Some(ending) = shutdown.ending() {
            return told(ending);
        }
    }
    tracing::info!(deadline = ?times.deadline, "ending: listeners are closed, calls in flight go on");
    let mut closing = pin!(service.close());
    loop {
        let event = tokio::select! {
            biased;
            () = &mut closing => Event::Closed,
            wish = wishes.next() => match wish {
                Wish::Reload => {
                    tracing::info!("no reload: the process is ending");
                    continue;
                }
                Wish::Terminate => Event::Terminate,
                Wish::Abandoned => Event::Abandoned,
            },
            () = sleep_until(shutdown.due()) => Event::Due,
        };
        shutdown.step(event, Instant::now());
        if let Some(ending) = shutdown.ending() {
            return told(ending);
        }
    }
}

fn told(ending: Ending) -> Ending {
    match ending {
        Ending::Clean => tracing::info!("ended"),
        Ending::Cut => tracing::warn!("ended at the deadline: what still ran was cut off"),
        Ending::AtOnce => tracing::warn!("ended at once by a second signal: what still ran was cut off"),
    }
    ending
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use crate::config::Sources;
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    /// A role that tells what is asked of it, and closes when it is told to.
    struct Double {
        told: mpsc::Sender<&'static str>,
        may_close: tokio::sync::oneshot::Receiver<()>,
    }

    impl Service for Double {
        fn become_unready(&mut self) {
            self.told.try_send("unready").unwrap();
        }

        async fn reload(&mut self, _: &Loaded) -> anyhow::Result<()> {
            self.told.send("reload").await?;
            Ok(())
        }

        async fn close(self) {
            self.told.send("close").await.unwrap();
            let _ = self.may_close.await;
        }
    }

    struct Bench {
        wishes: mpsc::Sender<Wish>,
        told: mpsc::Receiver<&'static str>,
        close: Option<tokio::sync::oneshot::Sender<()>>,
        life: tokio::task::JoinHandle<Ending>,
    }

    impl Bench {
        fn start(grace: Duration, deadline: Duration) -> Self {
            let (wishes, mut source) = mpsc::channel(4);
            let (tell, told) = mpsc::channel(4);
            let (close, may_close) = tokio::sync::oneshot::channel();
            let sources = Sources::default();
            let loaded = crate::config::Config::load(&sources).unwrap();
            let reload = Reload::new(sources, loaded, |_| {}, &mut Metrics::new(&MetricsConfig::default()));
            let life = tokio::spawn(async move {
                let service = Double { told: tell, may_close };
                live(service, &mut source, &ShutdownConfig { grace, deadline }, reload).await
            });
            Self { wishes, told, close: Some(close), life }
        }

        async fn wish(&self, wish: Wish) {
            self.wishes.send(wish).await.unwrap();
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_becomes_unready_then_closes_then_ends_with_the_last_call() {
        let mut bench = Bench::start(2 * SECOND, 30 * SECOND);
        bench.wish(Wish::Reload).await;
        assert_eq!(bench.told.recv().await, Some("reload"));
        bench.wish(Wish::Terminate).await;
        assert_eq!(bench.told.recv().await, Some("unready"));
        let unready = tokio::time::Instant::now();
        assert_eq!(bench.told.recv().await, Some("close"));
        assert_eq!(unready.elapsed().as_secs(), 2);
        bench.wish(Wish::Reload).await;
        drop(bench.close.take());
        assert_eq!(bench.life.await.unwrap(), Ending::Clean);
        assert_eq!(bench.told.recv().await, None, "no reload while it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_cut_off_at_the_deadline() {
        let mut bench = Bench::start(Duration::ZERO, SECOND);
        bench.wish(Wish::Terminate).await;
        assert_eq!(bench.told.recv().await, Some("unready"));
        assert_eq!(bench.told.recv().await, Some("close"));
        assert_eq!(bench.life.await.unwrap(), Ending::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it_at_once() {
        let mut bench = Bench::start(3_600 * SECOND, 3_600 * SECOND);
        bench.wish(Wish::Terminate).await;
        assert_eq!(bench.told.recv().await, Some("unready"));
        bench.wish(Wish::Terminate).await;
        assert_eq!(bench.life.await.unwrap(), Ending::AtOnce);
    }
}
