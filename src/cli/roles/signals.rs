//! What people and parents want of the process, from outside.

use std::io;
use std::os::fd::AsFd as _;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// End (SIGTERM, SIGINT).
    Terminate,
    /// Read the configuration again (SIGHUP).
    Reload,
    /// Nothing any more: whoever started the process is gone.
    Abandoned,
}

/// Where wishes come from.
pub(super) trait WishSource {
    /// The next wish. Dropping the future loses none.
    async fn next(&mut self) -> Wish;
}

/// Which wishes are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) hangup: Hangup,
    pub(super) standard_input: StandardInput,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Read the configuration again.
    Reload,
    /// The terminal was closed: end.
    Terminate,
}

/// What the end of standard input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandardInput {
    /// Nothing.
    Ignored,
    /// The parent, which holds the other end of the pipe, is gone.
    Parent,
}

/// The process's signals and its standard input.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    hangup_means: Wish,
    parent: Option<pipe::Receiver>,
}

impl Signals {
    /// Takes the signals over: from now on they end nothing by themselves.
    ///
    /// # Errors
    /// The system refuses, or standard input is to be the parent and is no pipe.
    pub(super) fn listen(wishes: Wishes) -> io::Result<Self> {
        let parent = match wishes.standard_input {
            StandardInput::Ignored => None,
            StandardInput::Parent => Some(parent()?),
        };
        let hangup_means = match wishes.hangup {
            Hangup::Reload => Wish::Reload,
            Hangup::Terminate => Wish::Terminate,
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            hangup_means,
            parent,
        })
    }
}

impl WishSource for Signals {
    async fn next(&mut self) -> Wish {
        let Self { terminate, interrupt, hangup, hangup_means, parent } = self;
        let wish = tokio::select! {
            biased;
            Some(()) = terminate.recv() => Wish::Terminate,
            Some(()) = interrupt.recv() => Wish::Terminate,
            Some(()) = hangup.recv() => *hangup_means,
            () = end_of(parent) => Wish::Abandoned,
        };
        if wish == Wish::Abandoned {
            self.parent = None;
        }
        wish
    }
}

/// Standard input as the pipe whose other end the parent holds.
fn parent() -> io::Result<pipe::Receiver> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    pipe::Receiver::from_owned_fd(input)
        .map_err(|error| io::Error::new(error.kind(), format!("--stop-with-stdin wants a pipe as standard input: {error}")))
}

/// Returns when nothing will come out of the pipe any more; never if there is none.
async fn end_of(pipe: &mut Option<pipe::Receiver>) {
    let Some(pipe) = pipe else { return std::future::pending().await };
    let mut ignored = [0; 64];
    // A pipe that cannot be read has no parent at its other end either.
    while !matches!(pipe.read(&mut ignored).await, Ok(0) | Err(_)) {}
}

/// A source that tests speak through. It wishes nothing more when its sender is gone.
#[cfg(test)]
impl WishSource for tokio::sync::mpsc::Receiver<Wish> {
    async fn next(&mut self) -> Wish {
        match self.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn the_parent_is_gone_when_its_pipe_is_closed_and_not_before() {
        let (mut sender, receiver) = pipe::pipe().unwrap();
        sender.write_all(b"whatever it says").await.unwrap();
        let mut parent = Some(receiver);
        let mut end = Box::pin(end_of(&mut parent));
        assert!(futures_util::poll!(&mut end).is_pending());
        drop(sender);
        end.await;
    }

    #[tokio::test]
    async fn without_a_parent_nothing_is_waited_for() {
        let mut none = None;
        assert!(futures_util::poll!(Box::pin(end_of(&mut none))).is_pending());
    }
}
