//! The face: a [`Runner`] over HTTP.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Response, StatusCode};
use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::{InvalidAddress, RunnerAddress};
use super::answer::{AnswerFacts, Ended, clean};
use super::arriving::Arriving;
use super::connections::{Connections, Limits};
use super::http2_body::Http2Answer;
use super::leave::{Leave, Way};
use super::metrics::RunnerMetrics;
use super::record::{Ending, InFlight, Record};
use super::settings::{HttpRunnerSettings, Protocol};
use super::{agent, plain, question, room, tunnel};
use crate::model::boxed;
use crate::protocol::{AgentStatus, RefusalReason};
use crate::runner::{
    AnswerBody, Attempt, CallError, Gate, HealthAnswer, HealthQuestion, NoRoom, Probe, Refused, RefusedWhy, Room, Runner,
    RunnerCall, RunnerView, Session, StatusError,
};
use crate::telemetry::turn;

/// A runner that is reached over HTTP: an agent, or a plain server.
///
/// Making one does no I/O; connections are made when calls need them.
#[derive(Debug)]
pub struct HttpRunner {
    settings: HttpRunnerSettings,
    connections: Arc<Connections>,
    /// Passed by every attempt; an answer is inside until its last byte.
    gate: Arc<Gate>,
    record: Arc<Record>,
    leave: Leave,
    /// Cancelled by the close: who waits for room then waits no more, and its connection can end.
    closing: CancellationToken,
}

impl HttpRunner {
    /// A runner at `address` (`host:port`). A name is looked up whenever a connection is made.
    ///
    /// # Errors
    /// The text is no address. That nothing listens there is no error.
    pub fn new(address: &str, settings: HttpRunnerSettings, metrics: &RunnerMetrics) -> Result<Self, InvalidAddress> {
        let address: RunnerAddress = address.parse()?;
        let record = Record::new(metrics, address.as_str());
        let limits = Limits {
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
            max_idle: settings.max_idle_connections,
        };
        let connections = Arc::new(Connections::new(address, settings.tls.clone(), limits, Arc::clone(&record)));
        Ok(Self { settings, connections, gate: Gate::new(), record, leave: Leave::default(), closing: CancellationToken::new() })
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> &HttpRunnerSettings {
        &self.settings
    }

    /// What became of this runner so far.
    pub fn view(&self) -> RunnerView {
        let mut endings = self.record.endings();
        let last = self.record.seen_last();
        let attempts = endings.values().sum();
        let mut taken = |ending: Ending| endings.remove(ending.as_str()).unwrap_or_default();
        RunnerView {
            address: self.connections.address().to_string(),
            protocol: self.settings.protocol,
            is_open: self.gate.is_open(),
            in_flight: self.gate.sessions(),
            connections: self.record.connections(),
            idle_connections: u64::try_from(self.connections.idle_count()).unwrap_or(u64::MAX),
            attempts,
            committed: taken(Ending::Committed),
            withdrawn: taken(Ending::Withdrawn),
            refusals: endings.into_iter().map(|(why, count)| (why.to_owned(), count)).collect(),
            last_load: last.load,
            last_refusal: last.refusal,
            last_error: last.error,
        }
    }

    /// One attempt on an agent, unless it has taken its leave.
    async fn try_agent(&self, call: &RunnerCall<'_>, connecting: &mut Duration) -> Ended {
        const DRAINING: RefusedWhy = RefusedWhy::Agent(RefusalReason::Draining);
        match self.leave.way(turn::now()) {
            Way::Try => {}
            Way::Refuse => return Ended::Refused(Refused::new(DRAINING)),
            // On the heap, as it is rare and large.
            Way::Ask => match Box::pin(question::is_ready(&self.connections, self.settings.attempt_timeout)).await {
                Ok(true) => self.leave.is_back(),
                Ok(false) => return Ended::Refused(Refused::new(DRAINING)),
                Err(error) => return Ended::Refused(Refused::new(RefusedWhy::Unreachable(error.to_string()))),
            },
        }
        let ended = agent::attempt(&self.connections, &self.settings, call, connecting).await;
        if matches!(&ended, Ended::Refused(refused) if refused.why == DRAINING) {
            self.leave.is_taken();
        }
        ended
    }

    fn unreachable(&self, reason: impl ToString) -> StatusError {
        StatusError::Unreachable { address: self.address().to_owned(), reason: reason.to_string() }
    }

    fn malformed(&self, reason: impl ToString) -> StatusError {
        StatusError::Malformed { address: self.address().to_owned(), reason: reason.to_string() }
    }
}

#[async_trait]
impl Runner for HttpRunner {
    // What `async_trait` makes of an `async fn`, by hand: each protocol has a future of its own size, and there are as many as calls in hand.
    fn try_exec<'runner, 'call, 'attempt>(
        &'runner self,
        call: RunnerCall<'call>,
    ) -> Pin<Box<dyn Future<Output = Attempt> + Send + 'attempt>>
    where
        'runner: 'attempt,
        'call: 'attempt,
    {
        if !self.gate.admit() {
            let refused = Refused::new(RefusedWhy::Closed);
            self.record.refused(&refused.why);
            return Box::pin(ready(Attempt::Refused(refused)));
        }
        let under_way = UnderWay::begin(&self.record, &self.gate);
        let mut connecting = Duration::ZERO;
        match self.settings.protocol {
            Protocol::Agent => Box::into_pin(boxed(|| async move {
                let ended = self.try_agent(&call, &mut connecting).await;
                under_way.end(ended, Protocol::Agent, connecting)
            })),
            Protocol::Plain => Box::into_pin(boxed(|| async move {
                let ended = plain::attempt(&self.connections, &self.settings, &call, &mut connecting).await;
                under_way.end(ended, Protocol::Plain, connecting)
            })),
        }
    }

    async fn status(&self) -> Result<AgentStatus, StatusError> {
        if self.settings.protocol == Protocol::Plain {
            return Err(StatusError::Unsupported { address: self.address().to_owned() });
        }
        let (status, body) =
            question::status(&self.connections, self.settings.attempt_timeout).await.map_err(|error| self.unreachable(error))?;
        if status != StatusCode::OK {
            return Err(self.malformed(format!("it answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| self.malformed(error))
    }

    async fn ask_room(&self, wait: Duration) -> Result<Room, NoRoom> {
        let address = || self.address().to_owned();
        if self.settings.protocol == Protocol::Plain {
            return Err(NoRoom::Unsupported { address: address() });
        }
        let asking = room::ask_room(&self.connections, &self.settings.balancer, wait, self.settings.attempt_timeout);
        // Not inside the gate: a close must not wait for a long poll.
        match self.closing.run_until_cancelled(asking).await {
            Some(result) => result,
            None => Err(NoRoom::Unreachable { address: address(), reason: "it was closed on our side".to_owned() }),
        }
    }

    async fn probe(&self) -> Result<Probe, StatusError> {
        if self.settings.protocol == Protocol::Plain {
            return Err(StatusError::Unsupported { address: self.address().to_owned() });
        }
        room::probe(&self.connections, self.settings.attempt_timeout).await
    }

    async fn ask_health(&self, how: &HealthQuestion, limit: Duration) -> HealthAnswer {
        let answered = match how {
            HealthQuestion::Status => match question::status(&self.connections, limit).await {
                Ok((StatusCode::OK, body)) => {
                    return match serde_json::from_slice(&body) {
                        Ok(status) => HealthAnswer::Well(Some(Box::new(status))),
                        Err(error) => HealthAnswer::Unwell(self.malformed(error).to_string()),
                    };
                }
                Ok((status, _)) => Ok(status),
                Err(error) => Err(error),
            },
            HealthQuestion::Connect => question::connect(&self.connections, limit).await.map(|()| StatusCode::OK),
            HealthQuestion::Get(path) => question::get(&self.connections, self.settings.http, path.as_str(), limit).await,
        };
        match answered {
            Ok(status) if status.is_success() || status.is_redirection() => HealthAnswer::Well(None),
            Ok(status) => HealthAnswer::Unwell(format!("it answered {status}")),
            Err(error) if error.is_unreachable() => HealthAnswer::Unreachable(error.to_string()),
            Err(error) => HealthAnswer::Unwell(error.to_string()),
        }
    }

    async fn close(&self) {
        self.gate.close();
        self.closing.cancel();
        self.gate.drained().await;
        self.connections.close().await;
    }

    fn address(&self) -> &str {
        self.connections.address().as_str()
    }

    fn reports_load(&self) -> bool {
        self.settings.protocol == Protocol::Agent
    }

    fn view(&self) -> Option<RunnerView> {
        Some(Self::view(self))
    }
}

/// An attempt under way. Dropped before its end, it counts as withdrawn.
struct UnderWay<'a> {
    record: &'a Arc<Record>,
    gate: &'a Arc<Gate>,
    began: Instant,
    /// Its end was counted.
    is_over: bool,
    /// It goes on with the answer's body.
    flies_on: bool,
}

impl<'a> UnderWay<'a> {
    /// Begins with a session that was admitted.
    fn begin(record: &'a Arc<Record>, gate: &'a Arc<Gate>) -> Self {
        record.takes_off();
        Self { record, gate, began: turn::now(), is_over: false, flies_on: false }
    }

    /// What the answer's body is to hold until its end.
    fn fly_on(&mut self) -> (InFlight, Session) {
        self.flies_on = true;
        (self.record.flies_on(), self.gate.stay())
    }

    /// Counts the end, and turns it into what the caller sees.
    fn end(mut self, ended: Ended, protocol: Protocol, connecting: Duration) -> Attempt {
        self.is_over = true;
        match ended {
            Ended::Refused(refused) => {
                self.record.refused(&refused.why);
                if let Some(load) = refused.load {
                    self.record.loaded(load);
                }
                Attempt::Refused(refused)
            }
            Ended::Failed(error) => self.fail(error),
            Ended::Answered(mut response) => {
                let said = match protocol {
                    Protocol::Agent => AnswerFacts::take(response.headers_mut()),
                    Protocol::Plain => AnswerFacts::default(),
                };
                let facts = AnswerFacts { connecting, ..said };
                self.record.answered(turn::now().saturating_duration_since(self.began));
                if let Some(load) = facts.load {
                    self.record.loaded(load);
                }
                if !matches!(response.body(), Arriving::Switched(_)) {
                    clean(response.headers_mut());
                }
                if facts != AnswerFacts::default() {
                    response.extensions_mut().insert(facts);
                }
                Attempt::Committed(Ok(self.with_body(response)))
            }
        }
    }

    fn fail(&self, error: CallError) -> Attempt {
        self.record.failed(&error);
        if let Some(load) = error.facts.as_ref().and_then(|facts| facts.load) {
            self.record.loaded(load);
        }
        Attempt::Committed(Err(error))
    }

    /// The answer with its body, which holds what must live until its end. Of one that came whole, the end was with its head.
    fn with_body(&mut self, response: Response<Arriving>) -> Response<AnswerBody> {
        let (parts, body) = response.into_parts();
        let body = match body {
            Arriving::Whole(bytes) => AnswerBody::full(bytes),
            Arriving::Streamed(mut body) => {
                let (in_flight, session) = self.fly_on();
                body.hold(in_flight, session);
                AnswerBody::streamed(body)
            }
            Arriving::Http2(incoming) => AnswerBody::new(Http2Answer::new(incoming, self.fly_on())),
            Arriving::Switched(connection) => return tunnel::open(parts, *connection, self.fly_on()),
        };
        Response::from_parts(parts, body)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.record.ended(Ending::Withdrawn);
        }
        if !self.flies_on {
            self.record.lands();
            self.gate.leave();
        }
    }
}
