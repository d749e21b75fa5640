//! Runners out of DNS, asked again when the records' time is over (RFC 1035 section 3.2.1; RFC 2782 for SRV).
//!
//! That there is no such name, or no name server, is a failure like any other: the runners stay as they were.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::{Instant, sleep};

use super::{DnsConfig, DnsRecord, Listed, SourceMetrics, SourceName};
use crate::pool::{ConfiguredPool, DEFAULT_WEIGHT, MAX_WEIGHT, RunnerEntry, Terms};

/// Runners that a name server lists.
#[derive(Debug)]
pub struct DnsSource {
    name: String,
    config: DnsConfig,
    resolver: TokioResolver,
}

/// The name server could not be asked, or had no answer.
#[derive(Debug, thiserror::Error)]
#[error("could not look up {name}: {reason}")]
pub struct DnsError {
    name: String,
    reason: String,
}

/// How soon to ask again after a failure; doubled each time, up to the configured interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

impl DnsSource {
    /// Makes ready to ask; `None` if no name is configured. Asks nobody yet.
    ///
    /// # Errors
    /// The system's name servers are not known.
    pub fn new(config: &DnsConfig) -> Result<Option<Self>, DnsError> {
        let Some(name) = config.name.clone() else { return Ok(None) };
        let wrong = |reason: &dyn std::fmt::Display| DnsError { name: name.clone(), reason: reason.to_string() };
        let mut builder = match config.server {
            Some(server) => Resolver::builder_with_config(only(server), TokioRuntimeProvider::default()),
            None => TokioResolver::builder_tokio().map_err(|error| wrong(&error))?,
        };
        // We ask when the time of the records is over, so that a cache could only make us late.
        builder.options_mut().cache_size = 0;
        let resolver = builder.build().map_err(|error| wrong(&error))?;
        Ok(Some(Self { name, config: config.clone(), resolver }))
    }

    /// Tells the pool whenever the records change, until the future is dropped.
    pub async fn follow(self, pool: Arc<ConfiguredPool>, metrics: SourceMetrics) {
        let (mut seen, mut failures) = (None, 0_u32);
        loop {
            let wait = match self.ask().await {
                Ok((listed, lasts)) => {
                    failures = 0;
                    if seen.as_ref() != Some(&listed) {
                        let runners = listed.len();
                        match pool.list(SourceName::Dns, listed.iter().cloned()) {
                            Ok(()) => tracing::info!(name = self.name, runners, "the runners of DNS were taken over"),
                            Err(error) => tracing::error!(name = self.name, "the runners of DNS stay as they were: {error}"),
                        }
                        seen = Some(listed);
                    }
                    metrics.listed(SourceName::Dns, seen.as_ref().map_or(0, Vec::len));
                    lasts.clamp(self.config.min_interval, self.config.max_interval)
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::error!("the runners of DNS stay as they were: {error}");
                    }
                    metrics.failed(SourceName::Dns);
                    failures = failures.saturating_add(1);
                    let grown = FIRST_RETRY.min(self.config.min_interval).saturating_mul(1 << failures.min(10));
                    grown.min(self.config.max_interval)
                }
            };
            sleep(wait).await;
        }
    }

    /// The runners, and for how long that holds.
    async fn ask(&self) -> Result<(Vec<Listed>, Duration), DnsError> {
        let record = match self.config.record {
            DnsRecord::A => RecordType::A,
            DnsRecord::Aaaa => RecordType::AAAA,
            DnsRecord::Srv => RecordType::SRV,
        };
        let wrong = |error: &dyn std::fmt::Display| DnsError { name: self.name.clone(), reason: error.to_string() };
        let lookup = self.resolver.lookup(self.name.as_str(), record).await.map_err(|error| wrong(&error))?;
        let lasts = Instant::from_std(lookup.valid_until()).saturating_duration_since(Instant::now());
        let mut entries = self.entries(lookup.answers().iter().map(|record| &record.data));
        if entries.is_empty() {
            return Err(wrong(&format!("the answer has no {record} record")));
        }
        // Servers turn the order around with each answer.
        entries.sort_by(|one, other| one.address.cmp(&other.address));
        entries.dedup_by(|one, other| one.address == other.address);
        Ok((entries.into_iter().map(Listed::from).collect(), lasts))
    }

    fn entries<'a>(&self, records: impl Iterator<Item = &'a RData> + Clone) -> Vec<RunnerEntry> {
        let port = self.config.port;
        let services =
            || records.clone().filter_map(|record| if let RData::SRV(service) = record { Some(service) } else { None });
        let first_priority = services().map(|service| service.priority).min();
        let addresses = records.clone().filter_map(|record| match record {
            RData::A(address) => Some(RunnerEntry::new(SocketAddr::from((address.0, port)).to_string())),
            RData::AAAA(address) => Some(RunnerEntry::new(SocketAddr::from((address.0, port)).to_string())),
            _ => None,
        });
        let named = services().filter(|service| Some(service.priority) == first_priority && service.port > 0).map(|service| {
            let host = service.target.to_ascii();
            let weight = if service.weight == 0 { DEFAULT_WEIGHT } else { u32::from(service.weight).min(MAX_WEIGHT) };
            RunnerEntry {
                address: format!("{}:{}", host.trim_end_matches('.'), service.port),
                terms: Terms { weight, ..Terms::default() },
            }
        });
        // A name that is none for us is as good as not there.
        addresses.chain(named).filter(|entry| entry.validate().is_empty()).collect()
    }
}

/// The configuration that asks nobody but `server`, over UDP, and over TCP what does not fit.
fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        if server.ip().is_loopback() && server.is_ipv4() {
            connection.bind_addr = Some((Ipv4Addr::LOCALHOST, 0).into());
        }
        connection
    });
    ResolverConfig::from_parts(None, Vec::new(), vec![NameServerConfig::new(server.ip(), true, connections.into())])
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hickory_proto::op::{Message, MessageType, ResponseCode};
    use hickory_proto::rr::rdata::{A, SRV};
    use hickory_proto::rr::{Name, Record};
    use tokio::net::UdpSocket;
    use tokio::sync::watch;

    use super::*;
    use crate::pool::{PoolConfig, RunnerPool as _};
    use crate::runner::http::RunnerMetrics;
    use crate::telemetry::metrics::{Metrics, MetricsConfig};

    /// A name server that answers every question with the same records; none is a failure.
    struct Server {
        address: SocketAddr,
        records: Arc<Mutex<Vec<(u32, RData)>>>,
        /// How many questions there were.
        asked: watch::Receiver<u32>,
    }

    impl Server {
        async fn start() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let records: Arc<Mutex<Vec<(u32, RData)>>> = Arc::default();
            let (counter, asked) = watch::channel(0);
            let answers = Arc::clone(&records);
            tokio::spawn(async move {
                let mut buffer = [0; 1_500];
                while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                    let question = Message::from_vec(&buffer[..length]).unwrap();
                    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                    answer.metadata.message_type = MessageType::Response;
                    answer.add_queries(question.queries.clone());
                    let records = answers.lock().unwrap().clone();
                    if records.is_empty() {
                        answer.metadata.response_code = ResponseCode::ServFail;
                    }
                    for (ttl, data) in records {
                        answer.add_answer(Record::from_rdata(question.queries[0].name().clone(), ttl, data));
                    }
                    socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
                    counter.send_modify(|count| *count += 1);
                }
            });
            Self { address, records, asked }
        }

        fn answers(&self, records: Vec<(u32, RData)>) {
            *self.records.lock().unwrap() = records;
        }

        fn config(&self, record: DnsRecord) -> DnsConfig {
            let name = Some("runners.test.".to_owned());
            let min_interval = Duration::from_millis(10);
            DnsConfig { name, record, port: 9001, server: Some(self.address), min_interval, ..DnsConfig::default() }
        }
    }

    fn a(last: u8) -> RData {
        RData::A(A(Ipv4Addr::new(10, 0, 0, last)))
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
        RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
    }

    async fn asked(server: &Server, record: DnsRecord) -> Result<(Vec<String>, Duration), String> {
        let source = DnsSource::new(&server.config(record)).unwrap().unwrap();
        let (listed, lasts) = source.ask().await.map_err(|error| error.to_string())?;
        let shown = |listed: &Listed| format!("{} {}", listed.entry.address, listed.entry.terms.weight);
        Ok((listed.iter().map(shown).collect(), lasts))
    }

    #[tokio::test]
    async fn addresses_have_the_configured_port_and_services_their_own() {
        let server = Server::start().await;
        server.answers(vec![(30, a(2)), (20, a(1)), (20, a(2))]);
        let (runners, lasts) = asked(&server, DnsRecord::A).await.unwrap();
        assert_eq!(runners, ["10.0.0.1:9001 100", "10.0.0.2:9001 100"]);
        assert!(lasts <= Duration::from_secs(20) && lasts > Duration::from_secs(10), "{lasts:?}: the shortest counts");

        server.answers(vec![
            (5, srv(1, 7, 9_007, "b.test.")),
            (5, srv(1, 0, 9_008, "a.test.")),
            (5, srv(2, 7, 9_009, "c.test.")),
        ]);
        let (runners, _) = asked(&server, DnsRecord::Srv).await.unwrap();
        assert_eq!(runners, ["a.test:9008 100", "b.test:9007 7"], "the first priority only");
    }

    #[tokio::test]
    async fn no_answer_is_an_error_that_names_the_name() {
        let server = Server::start().await;
        let error = asked(&server, DnsRecord::A).await.unwrap_err();
        assert!(error.starts_with("could not look up runners.test.: "), "{error}");
    }

    #[tokio::test]
    async fn the_pool_follows_the_records_and_keeps_them_while_the_server_fails() {
        let mut server = Server::start().await;
        let mut metrics = Metrics::new(&MetricsConfig::default());
        let runner_metrics = RunnerMetrics::declare(&mut metrics);
        let pool = Arc::new(ConfiguredPool::new(&PoolConfig::default(), Duration::from_secs(5), runner_metrics).unwrap());
        let mut changes = pool.pool().changes().unwrap();
        let listed = || pool.pool().snapshot().members().map(|member| member.id.to_string()).collect::<Vec<_>>();
        server.answers(vec![(0, a(1)), (0, a(2))]);
        let source = DnsSource::new(&server.config(DnsRecord::A)).unwrap().unwrap();
        let task = tokio::spawn(source.follow(Arc::clone(&pool), SourceMetrics::declare(&mut metrics)));
        changes.changed().await.unwrap();
        assert_eq!(listed(), ["10.0.0.1:9001", "10.0.0.2:9001"]);

        server.answers(Vec::new());
        let before = *server.asked.borrow();
        server.asked.wait_for(|asked| *asked > before + 3).await.unwrap();
        assert_eq!(listed(), ["10.0.0.1:9001", "10.0.0.2:9001"]);

        server.answers(vec![(0, a(2)), (0, a(3))]);
        changes.changed().await.unwrap();
        assert_eq!(listed(), ["10.0.0.3:9001", "10.0.0.2:9001"], "who stays keeps its place");
        task.abort();
    }
}
