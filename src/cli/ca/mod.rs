//! `runpool ca`: certificates for mutual TLS between balancer and runners, without any other tool.

mod authority;
mod files;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand};

use self::authority::{Authority, Wanted};
use super::output;

/// Make a certificate authority for tests, and certificates of it
///
/// For production, take those of your own authority: this one keeps no key, so it can neither renew nor revoke.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  runpool ca make tls\n  runpool ca make tls --balancer-san dns:lb.example --runner-san ip:10.0.0.7"
)]
pub(super) struct CaCommand {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Write ca.pem, balancer.pem, balancer.key, runner.pem and runner.key
    Make(MakeCommand),
}

#[derive(Debug, Args)]
struct MakeCommand {
    /// The directory for the files; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// A name of the balancer, beside localhost, 127.0.0.1 and ::1; may be repeated
    #[arg(long, value_name = "dns:NAME|ip:ADDRESS|uri:URI")]
    balancer_san: Vec<San>,

    /// A name of the runners, beside localhost, 127.0.0.1 and ::1; may be repeated
    #[arg(long, value_name = "dns:NAME|ip:ADDRESS|uri:URI")]
    runner_san: Vec<San>,

    /// How long the certificates hold
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

/// A name that stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum San {
    Dns(String),
    Ip(std::net::IpAddr),
    Uri(String),
}

impl FromStr for San {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dns", name)) if !name.is_empty() => Ok(Self::Dns(name.to_owned())),
            Some(("ip", address)) => {
                address.parse().map(Self::Ip).map_err(|_| format!("`{address}` is no IP address, such as 10.0.0.7"))
            }
            Some(("uri", uri)) if uri.contains(':') => Ok(Self::Uri(uri.to_owned())),
            _ => Err("expected dns:NAME, ip:ADDRESS or uri:URI, such as dns:runner-1".to_owned()),
        }
    }
}

impl CaCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Subcommands::Make(command) = &self.command;
        command.run()
    }
}

impl MakeCommand {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let authority = Authority::new(self.days)?;
        let mut written = vec![("ca.pem".to_owned(), authority.certificate(), files::Kind::Public)];
        for (name, sans) in [("balancer", &self.balancer_san), ("runner", &self.runner_san)] {
            let own = authority.issue(&Wanted { name, sans, days: self.days })?;
            written.push((format!("{name}.pem"), own.certificate, files::Kind::Public));
            written.push((format!("{name}.key"), own.key, files::Kind::Secret));
        }
        let overwriting = if self.force { files::Overwriting::Allowed } else { files::Overwriting::Refused };
        let names = files::write(&self.directory, &written, overwriting)?;
        output::print(names)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_of_what_kind_it_is() {
        assert_eq!("dns:a.b".parse(), Ok(San::Dns("a.b".into())));
        assert_eq!("ip:::1".parse(), Ok(San::Ip("::1".parse().unwrap())));
        assert_eq!("uri:spiffe://a/b".parse(), Ok(San::Uri("spiffe://a/b".into())));
        for wrong in ["a", "dns:", "ip:a", "uri:a", "email:a@b"] {
            assert!(wrong.parse::<San>().is_err(), "{wrong}");
        }
    }
}
